"""Use of a store from several event loops."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from coatcheck.contracts.store import Store
from coatcheck.testing._store.base import StoreSuiteBase, keys_of


class LoopTests(StoreSuiteBase):
    """One store, used from several event loops and after it was closed."""

    async def test_two_event_loops_at_once(self, store: Store) -> None:
        together = Barrier(2, timeout=30)

        async def use(name: str) -> list[bool]:
            await asyncio.to_thread(together.wait)
            outcomes = await asyncio.gather(*(store.create(f"t/{number}", b"1") for number in range(20)))
            await store.create(f"own/{name}", name.encode())
            assert await store.get(f"own/{name}") == name.encode()
            return outcomes

        with ThreadPoolExecutor(2) as threads:
            running = [threads.submit(asyncio.run, use(name)) for name in ("one", "two")]
            one, two = await asyncio.gather(*map(asyncio.wrap_future, running))
        assert all(first is not second for first, second in zip(one, two, strict=True))
        assert await keys_of(store, "own/") == ["own/one", "own/two"]

    async def test_one_event_loop_after_another(self, store: Store) -> None:
        await store.create("t/here", b"1")
        for number in range(3):

            async def use(number: int = number) -> bytes:
                await store.create(f"t/{number}", b"2")
                return await store.get("t/here")

            assert await asyncio.to_thread(asyncio.run, use()) == b"1"
        assert await keys_of(store) == ["t/0", "t/1", "t/2", "t/here"]

    async def test_use_after_close(self, store: Store) -> None:
        await store.close()
        await store.create("t/s/o", b"1")
        await store.close()
        await store.close()
        assert await store.get("t/s/o") == b"1"
        assert await store.create("t/s/o", b"2") is False
        assert await keys_of(store) == ["t/s/o"]
