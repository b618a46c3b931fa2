"""The cache: bounded, least recently used first, counted; and one flight at a time."""

import asyncio
import gc
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import PayloadCache, StoreDenied
from coatcheck.storage.single_flight import SingleFlight

KEYS = "abcdefgh"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS), st.integers(0, 60)), max_size=200))
def test_it_behaves_like_a_model(calls: list[tuple[bool, str, int]]) -> None:
    cache, model, hits, misses = PayloadCache(100), OrderedDict[str, bytes](), 0, 0
    for put, key, size in calls:
        if put:
            cache.put(key, bytes(size))
            if size <= 50:
                model.pop(key, None)
                model[key] = bytes(size)
                while sum(map(len, model.values())) > 100:
                    model.popitem(last=False)
        else:
            assert cache.get(key) == model.get(key)
            hits, misses = hits + (key in model), misses + (key not in model)
            if key in model:
                model.move_to_end(key)
        assert cache.stats.size == sum(map(len, model.values())) <= 100
    assert (cache.stats.hits, cache.stats.misses) == (hits, misses)
    cache.clear()
    assert cache.stats.size == 0


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
    await asyncio.wait_for(ended.wait(), 5)
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
