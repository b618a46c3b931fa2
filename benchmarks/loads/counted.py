"""A store that counts and delays requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from coatcheck import Store, StoredObject
from coatcheck.contracts.store import DEFAULT_LIMIT


class Counted(Store):
    """A wrapper that counts and delays the requests to a store.

    Args:
        store: The store of the objects.
        delay: Seconds before each request reaches it.
    """

    def __init__(self, store: Store, delay: float = 0.0) -> None:
        self.delay = delay
        self.requests: Counter[str] = Counter()
        """Requests by kind: ``puts``, ``gets``, ``lists``, ``deletes``."""
        self.asked: Counter[str] = Counter()
        """GETs by key."""
        self.fetched = 0
        """Bytes of the objects that were returned."""
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
        data = await self._store.get(key, limit)
        self.fetched += len(data)
        return data

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
        """Return the bytes of every object. Not counted."""
        return [entry.size async for entry in self._store.list_objects()]

    def forget_counts(self) -> None:
        """Set all counts to zero."""
        self.requests.clear()
        self.asked.clear()

    async def _travel(self, kind: str) -> None:
        self.requests[kind] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
