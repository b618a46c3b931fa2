"""Room for bytes: who waits, who goes first, and that all of it comes back."""

import asyncio
from contextlib import suppress

from coatcheck.server.in_flight import Room


async def holding(room: Room, size: int, order: list[int], let_go: asyncio.Event) -> None:
    async with room.hold(size):
        order.append(size)
        await let_go.wait()


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_smallest_goes_first_and_nobody_above_the_size() -> None:
    room, order, let_go = Room(10), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(holding(room, size, order, let_go)) for size in (10, 7, 3, 5)]
    await settle()
    assert (order, room.taken) == ([10], 10)
    let_go.set()
    await settle()
    assert order == [10, 3, 5, 7]
    await asyncio.gather(*tasks)
    assert room.taken == 0


async def test_what_fits_beside_those_that_wait_goes_by() -> None:
    room, order, let_go = Room(10), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(holding(room, size, order, let_go)) for size in (8, 5, 2)]
    await settle()
    assert (order, room.taken) == ([8, 2], 10)
    let_go.set()
    await asyncio.gather(*tasks)
    assert room.taken == 0


async def test_more_than_there_is_counts_as_all_of_it() -> None:
    room = Room(10)
    async with room.hold(1000):
        assert room.taken == 10
    assert room.taken == 0


async def test_what_is_given_back_early_is_given_back_once() -> None:
    room = Room(10)
    async with room.hold(8) as give_back:
        give_back(5)
        assert room.taken == 3
        give_back(5)
        assert room.taken == 0
    assert room.taken == 0


async def test_who_is_cancelled_while_waiting_or_just_let_in_leaves_nothing_behind() -> None:
    room, order, let_go = Room(10), list[int](), asyncio.Event()
    first = asyncio.create_task(holding(room, 10, order, let_go))
    waiting = asyncio.create_task(holding(room, 4, order, let_go))
    let_in = asyncio.create_task(holding(room, 3, order, let_go))
    await settle()
    waiting.cancel()
    first.cancel()
    await asyncio.sleep(0)
    # Its room was given to it in this turn; it has not gone on yet.
    let_in.cancel()
    for task in (first, waiting, let_in):
        with suppress(asyncio.CancelledError):
            await task
    assert (order, room.taken) == ([10], 0)


async def test_growing_never_waits() -> None:
    room = Room(10)
    with room.growing() as take:
        assert take(6)
        assert not take(5)
        assert take(4)
        assert room.taken == 10
    assert room.taken == 0
