"""Synchronous calls of asynchronous work: where each part runs, with which context, and how it ends."""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from coatcheck.errors import ConfigError
from coatcheck.runtime.portal import is_background, on_loop, run_blocking, run_eagerly
from tests.runtime.test_forks import in_child

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

_variable: ContextVar[str] = ContextVar("variable", default="nobody's")


async def _where() -> tuple[int, int, bool]:
    """The threads that a call's two parts run in."""
    first = threading.get_ident()
    await on_loop()
    await asyncio.sleep(0)
    return first, threading.get_ident(), is_background()


async def _sum(numbers: int) -> int:
    await asyncio.sleep(0.001 * (numbers % 3))
    return sum(range(numbers))


async def _in_a_loop(work: Callable[[], object]) -> object:
    return work()


def _directly(work: Callable[[], object]) -> object:
    return work()


def _inside_of_a_running_loop(work: Callable[[], object]) -> object:
    return asyncio.run(_in_a_loop(work))


def _in_a_thread(work: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(30)


CALLERS = pytest.mark.parametrize("call", [_directly, _inside_of_a_running_loop, _in_a_thread])


@CALLERS
def test_a_call_begins_in_its_own_thread_and_goes_on_where_it_can_wait(
    call: Callable[[Callable[[], object]], object],
) -> None:
    found: list[tuple[int, tuple[int, int, bool]]] = []
    call(lambda: found.append((threading.get_ident(), run_eagerly(_where()))))
    [(mine, (first, second, is_in_background))] = found
    assert mine == first != second
    assert is_in_background
    assert not is_background()


@CALLERS
def test_what_waits_for_nothing_sees_no_event_loop_and_needs_no_other_thread(
    call: Callable[[Callable[[], object]], object],
) -> None:
    async def work() -> int:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return threading.get_ident()

    def begin() -> bool:
        return run_eagerly(work()) == threading.get_ident()

    assert call(begin)


async def test_the_callers_loop_is_there_again_afterwards() -> None:
    loop = asyncio.get_running_loop()

    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_eagerly(fail())
    assert asyncio.get_running_loop() is loop
    assert asyncio.current_task() is not None
    assert run_blocking(_sum(10)) == 45
    assert asyncio.get_running_loop() is loop


@CALLERS
def test_the_whole_call_has_one_context_a_copy_of_the_callers(
    call: Callable[[Callable[[], object]], object],
) -> None:
    async def work() -> tuple[str, str]:
        before = _variable.get()
        token = _variable.set("the work's")
        await on_loop()
        await asyncio.sleep(0)
        inside = _variable.get()
        _variable.reset(token)  # raises in any other context than that of the first part
        return before, inside

    def begin() -> tuple[tuple[str, str], str]:
        token = _variable.set("the caller's")
        try:
            return run_eagerly(work()), _variable.get()
        finally:
            _variable.reset(token)

    assert call(begin) == (("the caller's", "the work's"), "the caller's")


@CALLERS
@pytest.mark.parametrize("late", [False, True])
def test_an_error_is_raised_as_it_is(call: Callable[[Callable[[], object]], object], late: bool) -> None:
    error = ConfigError("that", "Do this.")

    async def work() -> None:
        if late:
            await on_loop()
        raise error

    def begin() -> object:
        with pytest.raises(ConfigError) as raised:
            run_eagerly(work())
        return raised.value

    assert call(begin) is error


def test_many_threads_call_at_once() -> None:
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(lambda number: run_blocking(_sum(number)), range(500)))
    assert results == [sum(range(number)) for number in range(500)]


def test_who_would_wait_for_himself_is_told_so_and_what_waits_for_nothing_is_answered() -> None:
    async def nothing() -> str:
        return "at once"

    async def outer() -> str:
        await on_loop()
        said = run_eagerly(nothing())
        with pytest.raises(ConfigError, match="Use the asynchronous method"):
            run_blocking(_sum(10))
        return said

    assert run_eagerly(outer()) == "at once"
    assert run_blocking(_sum(10)) == 45


def test_a_thread_of_the_work_may_call_in_turn() -> None:
    async def outer() -> int:
        await on_loop()
        return await asyncio.to_thread(run_blocking, _sum(10))

    assert run_eagerly(outer()) == 45


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_loop_ended_all_later_calls(error: type[BaseException]) -> None:
    async def leave() -> None:
        await on_loop()
        raise error

    with pytest.raises(error):
        run_blocking(leave())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_blocking, _sum(10)).result(10) == 45


def test_an_interrupt_of_the_waiting_thread_cancels_the_work() -> None:
    cancelled = threading.Event()
    me = threading.main_thread().ident
    assert me is not None

    async def endless() -> None:
        await on_loop()
        try:
            signal.pthread_kill(me, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        run_eagerly(endless())
    assert cancelled.wait(10)
    assert run_blocking(_sum(10)) == 45


def test_work_that_is_cancelled_before_it_goes_on_is_closed_where_it_was_left() -> None:
    """The interrupt comes while the background loop is busy with something else."""
    closed, busy, free = threading.Event(), threading.Event(), threading.Event()

    async def hold_up() -> None:
        await on_loop()
        busy.set()
        free.wait(30)

    async def work() -> None:
        token = _variable.set("the work's")
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            await on_loop()
        finally:
            _variable.reset(token)
            closed.set()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(run_blocking, hold_up())
            assert busy.wait(10)
            with pytest.raises(KeyboardInterrupt):
                run_eagerly(work())
            assert not closed.is_set()
            free.set()
            assert closed.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_work_that_was_cancelled_by_itself_is_not_waited_for_for_ever() -> None:
    async def work() -> None:
        await on_loop()
        raise asyncio.CancelledError

    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(run_eagerly, work()).exception(10)
    assert type(outcome).__name__ == "CancelledError"


async def test_a_generator_that_was_begun_under_the_callers_loop_is_not_that_loops() -> None:
    ended: list[bool] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await on_loop()
            yield 2
        finally:
            ended.append(is_background())

    async def work() -> list[int]:
        return [number async for number in numbers()]

    assert run_eagerly(work()) == [1, 2]
    await asyncio.get_running_loop().shutdown_asyncgens()
    assert ended == [True]


def test_a_child_has_a_loop_of_its_own_and_the_parent_goes_on() -> None:
    assert run_blocking(_sum(10)) == 45
    assert in_child(lambda: run_blocking(_sum(100)) == 4950)
    assert in_child(lambda: in_child(lambda: run_blocking(_sum(100)) == 4950))
    assert in_child(lambda: _inside_of_a_running_loop(lambda: run_blocking(_sum(100))) == 4950)
    assert run_blocking(_sum(10)) == 45


def test_a_fork_while_another_thread_waits_takes_nothing_from_it() -> None:
    begun, may_end = threading.Event(), threading.Event()

    async def wait() -> str:
        await on_loop()
        begun.set()
        await asyncio.to_thread(may_end.wait, 30)
        return "ended"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run_blocking, wait())
        assert begun.wait(10)
        assert in_child(lambda: run_blocking(_sum(100)) == 4950)
        may_end.set()
        assert waiting.result(10) == "ended"


async def test_a_fork_inside_of_a_running_loop_leaves_that_to_the_parent() -> None:
    assert run_blocking(_sum(10)) == 45
    assert in_child(lambda: run_blocking(_sum(100)) == 4950)
    assert run_blocking(_sum(10)) == 45


def _sum_of(numbers: int) -> tuple[int, int]:
    return run_blocking(_sum(numbers)), os.getpid()


def test_forked_processes_of_a_pool_have_one_each() -> None:
    assert run_blocking(_sum(10)) == 45
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        found = list(pool.map(_sum_of, range(40), timeout=60))
    assert [result for result, _ in found] == [sum(range(number)) for number in range(40)]
    assert os.getpid() not in {process for _, process in found}


def test_two_threads_that_are_the_first_begin_one_loop() -> None:
    def first() -> bool:
        together = threading.Barrier(8)

        async def loop() -> int:
            return id(await on_loop())

        def begin(_: int) -> int:
            together.wait(30)
            return run_eagerly(loop())

        with ThreadPoolExecutor(8) as pool:
            loops = set(pool.map(begin, range(8)))
        names = [thread.name for thread in threading.enumerate()]
        return len(loops) == 1 and names.count("coatcheck-background") == 1

    assert in_child(first)


def test_a_call_takes_no_time_of_another_one() -> None:
    async def wait() -> None:
        await asyncio.sleep(1)

    begun = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: run_blocking(wait()), range(20)))
    assert time.monotonic() - begun < 20 / 2
