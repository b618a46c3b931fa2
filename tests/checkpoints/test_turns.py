"""Turns: one after the other in the order of asking, across loops and threads, whoever is cancelled."""

import asyncio

import pytest

from coatcheck.checkpoints.turns import Turns
from tests.runtime.test_forks import in_child


async def test_turns_are_taken_one_after_the_other_in_the_order_of_asking() -> None:
    turns = Turns()
    log: list[tuple[int, str]] = []

    async def work(number: int) -> None:
        async with turns.turn():
            log.append((number, "in"))
            for _ in range(number % 3):
                await asyncio.sleep(0)
            log.append((number, "out"))

    await asyncio.gather(*map(work, range(20)))
    assert log == [(number, what) for number in range(20) for what in ("in", "out")]


@pytest.mark.parametrize("cancelled", [{0}, {1}, {1, 2}, {0, 1, 2, 3}, {3}])
async def test_who_is_cancelled_lets_the_next_one_wait_in_its_place(cancelled: set[int]) -> None:
    turns = Turns()
    inside = 0
    done: list[int] = []
    first_may_end = asyncio.Event()

    async def work(number: int) -> None:
        nonlocal inside
        async with turns.turn():
            inside += 1
            assert inside == 1
            try:
                if number == 0:
                    await first_may_end.wait()
                await asyncio.sleep(0)
                done.append(number)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    for number in cancelled:
        tasks[number].cancel()
    await asyncio.sleep(0)
    first_may_end.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert done == [number for number in range(5) if number not in cancelled]


def test_tasks_of_several_event_loops_take_turns() -> None:
    turns = Turns()
    inside = 0

    async def work() -> None:
        nonlocal inside
        for _ in range(20):
            async with turns.turn():
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

    async def together() -> None:
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, work()) for _ in range(6)))

    asyncio.run(together())


async def test_a_turn_that_failed_is_over() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="mine"):
        async with turns.turn():
            raise ValueError("mine")
    async with turns.turn():
        pass


def test_a_turn_that_was_taken_at_a_fork_is_free_in_the_child() -> None:
    turns = Turns()

    async def take() -> bool:
        async with asyncio.timeout(60), turns.turn():
            return True

    async def forked() -> bool:
        async with turns.turn():
            # The child has no part in the event loop of its parent.
            return await asyncio.to_thread(in_child, lambda: asyncio.run(take()))

    assert asyncio.run(forked())
