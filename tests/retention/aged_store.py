"""A real store for which time passes faster than it does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from coatcheck import Store
from coatcheck.contracts import DEFAULT_LIMIT, StoredObject
from coatcheck.retention.sweep import store_time


class AgedStore(Store):
    """All but the times in a listing is the inner store's."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self._aged: list[tuple[datetime, timedelta]] = []

    async def age(self, by: timedelta) -> None:
        """Let so much time pass: what is written from now on is that much younger than what is there."""
        now = await store_time(self.inner)
        self._aged.append((now, by))
        # Some stores know the time to the second only: what is written next must not look as old.
        while await store_time(self.inner) <= now:  # noqa: ASYNC110 - nobody tells when a server's clock goes on
            await asyncio.sleep(0.05)

    async def create(self, key: str, data: bytes) -> bool:
        return await self.inner.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        await self.inner.replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        return await self.inner.get(key, limit)

    async def delete(self, key: str) -> None:
        await self.inner.delete(key)

    async def delete_versions(self, prefix: str) -> None:
        await self.inner.delete_versions(prefix)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        async for entry in self.inner.list_objects(prefix):
            younger = sum((by for since, by in self._aged if entry.modified > since), timedelta())
            yield StoredObject(entry.key, entry.size, entry.modified + younger)

    async def close(self) -> None:
        await self.inner.close()
