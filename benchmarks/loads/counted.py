"""A store that counts what is asked of it, and takes its time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from coatcheck import Store, StoredObject
from coatcheck.contracts.store import DEFAULT_LIMIT


class Counted(Store):
    """Another store, at a distance.

    Args:
        store: Where the objects are.
        delay: Seconds before each request reaches it.
    """

    def __init__(self, store: Store, delay: float = 0.0) -> None:
        self.delay = delay
        self.requests: Counter[str] = Counter()
        """By kind: ``puts``, ``gets``, ``lists``, ``deletes``."""
        self.asked: Counter[str] = Counter()
        """GETs by key."""
        self._store = store

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        await self._travel("puts")
        return await self._store.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        await self._travel("puts")
        await self._store.replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        self.asked[key] += 1
        await self._travel("gets")
        return await self._store.get(key, limit)

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        await self._travel("deletes")
        await self._store.delete(key)

    async def forget(self, key: str) -> None:
        """See :meth:`Store.forget`."""
        await self._store.forget(key)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`."""
        await self._travel("lists")
        async for entry in self._store.list_objects(prefix):
            yield entry

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self._store.close()

    async def sizes(self) -> list[int]:
        """Bytes of every object that is there. Not counted."""
        return [entry.size async for entry in self._store.list_objects()]

    def forget_counts(self) -> None:
        """Count from zero."""
        self.requests.clear()
        self.asked.clear()

    async def _travel(self, kind: str) -> None:
        self.requests[kind] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
