"""Concurrent and cancelled operations."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from coatcheck.contracts.store import Store
from coatcheck.errors import PayloadNotFound
from coatcheck.testing._store.base import AT_ONCE, StoreSuiteBase, keys_of, listed

_RACERS = 64
_SINGLE_STEPS = 24
"""Steps of the loop up to which an operation is cancelled at each one; beyond, the steps grow by a quarter."""

_Operation = Callable[[Store, str, bytes], Awaitable[object]]


async def _create(store: Store, key: str, data: bytes) -> object:
    return await store.create(key, data)


async def _replace(store: Store, key: str, data: bytes) -> None:
    await store.replace(key, data)


async def _get(store: Store, key: str, _data: bytes) -> object:
    return await store.get(key)


async def _delete(store: Store, key: str, _data: bytes) -> None:
    await store.delete(key)


async def _list(store: Store, key: str, _data: bytes) -> object:
    return [found async for found in store.list_objects(key)]


class ConcurrencyTests(StoreSuiteBase):
    """Races, and cancellation at every await."""

    async def test_one_of_racing_creates_wins(self, store: Store) -> None:
        together = asyncio.Event()

        async def race(number: int) -> tuple[bool, bytes]:
            await together.wait()
            created = await store.create("t/s/race", b"%d" % number * 1000)
            return created, await store.get("t/s/race")

        racers = [asyncio.ensure_future(race(number)) for number in range(_RACERS)]
        await asyncio.sleep(0)
        together.set()
        outcomes = await asyncio.gather(*racers)
        winners = [number for number, (created, _) in enumerate(outcomes) if created]
        assert len(winners) == 1
        assert {data for _, data in outcomes} == {b"%d" % winners[0] * 1000}
        assert await keys_of(store) == ["t/s/race"]

    async def test_readers_see_one_version_whole(self, store: Store) -> None:
        versions = [bytes([number]) * 50_000 for number in range(8)]
        await store.replace("t/s/o", versions[0])
        writes = asyncio.gather(*(store.replace("t/s/o", version) for version in versions))
        while not writes.done():
            assert await store.get("t/s/o") in versions
            # A store in memory may never yield to the writers.
            await asyncio.sleep(0)
        await writes
        assert await store.get("t/s/o") in versions

    async def test_concurrent_mixed_operations(self, store: Store) -> None:
        async def client(name: int) -> None:
            draw = random.Random(name)  # noqa: S311 - repeatable, not secret
            own: dict[str, bytes] = {}
            for _ in range(30):
                key = f"c{name}/{draw.randrange(4)}"
                data = draw.randbytes(draw.randrange(3_000))
                match draw.randrange(5):
                    case 0:
                        assert await store.create(key, data) is (key not in own)
                        own.setdefault(key, data)
                    case 1:
                        await store.replace(key, data)
                        own[key] = data
                    case 2:
                        await store.delete(key)
                        own.pop(key, None)
                    case 3:
                        assert await keys_of(store, f"c{name}/") == sorted(own)
                    case _ if key in own:
                        assert await store.get(key) == own[key]
                    case _:
                        with pytest.raises(PayloadNotFound):
                            await store.get(key)

        await asyncio.gather(*(client(name) for name in range(AT_ONCE)))

    @pytest.mark.parametrize("operation", [_create, _replace, _get, _delete, _list])
    async def test_cancelled_at_every_step(self, store: Store, operation: _Operation) -> None:
        """Cancel after 0, 1, 2 ... steps of the loop, until the operation ends before the cancellation."""
        data = b"whole" * 2_000
        steps, finished = 0, False
        while not finished:
            key = f"t/s/{steps}"
            if operation is not _create:
                await store.create(key, data)
            task = asyncio.ensure_future(operation(store, key, data))
            for _ in range(steps):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
            found = await self.raw_get(store, key)
            assert found == data or (found is None and operation in {_create, _delete})
            await store.replace("t/s/after", data)
            assert await store.get("t/s/after") == data
            steps = steps + 1 if steps < _SINGLE_STEPS else steps * 5 // 4

    async def test_many_cancelled_at_once(self, store: Store) -> None:
        data = b"whole" * 2_000
        tasks = [asyncio.ensure_future(store.create(f"t/{number}", data)) for number in range(_RACERS)]
        await asyncio.wait(tasks[:1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(store.create(f"u/{number}", data) for number in range(_RACERS)))
        assert len(await keys_of(store, "u/")) == _RACERS
        for found in await listed(store, "t/"):
            assert found.size == len(data)
