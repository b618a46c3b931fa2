"""One flight at a time: one call for all who ask, whoever of them leaves."""

import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import StoreDenied, StoreUnavailable
from coatcheck.runtime.single_flight import SingleFlight


async def test_a_hundred_who_ask_at_once_cause_one_call() -> None:
    flight: SingleFlight[int] = SingleFlight()
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return 7

    assert await asyncio.gather(*(flight.run("k", work) for _ in range(100))) == [7] * 100
    assert calls == 1
    assert await flight.run("k", work) == 7
    assert calls == 2


async def test_an_error_reaches_everyone_and_is_not_kept() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise StoreDenied("no")

    async def work() -> int:
        return 1

    results = await asyncio.gather(*(flight.run("k", fail) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreDenied] * 3
    assert await flight.run("k", work) == 1


async def test_one_who_leaves_does_not_end_it_for_the_others() -> None:
    flight: SingleFlight[int] = SingleFlight()
    gate = asyncio.Event()

    async def work() -> int:
        await gate.wait()
        return 7

    first, second = (asyncio.create_task(flight.run("k", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await second == 7
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_of_many_whose_first_leaves_one_begins_anew() -> None:
    flight: SingleFlight[int] = SingleFlight()
    gate = asyncio.Event()
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return 7

    tasks = [asyncio.create_task(flight.run("k", work)) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[:3]:
        task.cancel()
        await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks[3:]) == [7] * 7
    assert calls <= 4


@given(leavers=st.sets(st.integers(0, 9)), turns=st.integers(0, 5), fails=st.booleans())
def test_whoever_stays_gets_what_one_call_gave(leavers: set[int], turns: int, *, fails: bool) -> None:
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        for _ in range(4):
            await asyncio.sleep(0)
        if fails:
            raise StoreDenied("no")
        return 7

    async def ask_and_leave() -> list[int | BaseException]:
        flight: SingleFlight[int] = SingleFlight()
        tasks = [asyncio.create_task(flight.run("k", work)) for _ in range(10)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for leaver in leavers:
            tasks[leaver].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for number, result in enumerate(asyncio.run(ask_and_leave())):
        got = type(result) if isinstance(result, BaseException) else result
        expected = StoreDenied if fails else 7
        assert got == expected or (number in leavers and got is asyncio.CancelledError)
    assert calls <= 1 + len(leavers)


async def test_when_the_last_one_leaves_the_work_is_cancelled_and_leaks_nothing() -> None:
    flight: SingleFlight[int] = SingleFlight()
    ended = asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    tasks = [asyncio.create_task(flight.run("k", work)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(ended.wait(), 60)
    await asyncio.sleep(0)
    gc.collect()
    assert len(asyncio.all_tasks()) == 1


def test_event_loops_do_not_share_flights() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def work() -> int:
        await asyncio.sleep(0)
        return 1

    async def ask() -> int:
        return await flight.run("k", work)

    assert [asyncio.run(ask()) for _ in range(3)] == [1, 1, 1]


async def test_an_error_that_several_share_named_the_object_of_one_of_them() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise StoreUnavailable("it is down", retry_after=3)

    async def ask(object_id: str) -> StoreUnavailable:
        try:
            await flight.run("k", fail)
        except StoreUnavailable as error:
            return error.about(object_id)
        raise AssertionError

    errors = await asyncio.gather(*map(ask, ("aa", "bb", "cc")))
    assert [(error.object_id, error.retry_after) for error in errors] == [("aa", 3), ("bb", 3), ("cc", 3)]
