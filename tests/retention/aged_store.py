"""A real store for which time passes faster than it does."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from coatcheck import Store
from coatcheck.contracts.store import DEFAULT_LIMIT, StoredObject
from coatcheck.storage.store_time import store_time


class Aged(NamedTuple):
    """After a moment so much time passed at once."""

    at: datetime
    by: timedelta


class AgedStore(Store):
    """All but the times in a listing is the inner store's.

    Args:
        inner: The real one.
        aged: What passed so far, in order; several that look at one store can share it.
    """

    def __init__(self, inner: Store, aged: list[Aged] | None = None) -> None:
        self.inner = inner
        self._aged = aged if aged is not None else []
        self._sums: list[timedelta] = [timedelta()]

    async def age(self, by: timedelta) -> Aged:
        """Let so much time pass: what is written from now on is that much younger than what is there."""
        aged = Aged(await store_time(self.inner), by)
        self._aged.append(aged)
        # Some stores know the time to the second only: what is written next must not look as old.
        while await store_time(self.inner) <= aged.at:  # noqa: ASYNC110 - nobody tells when a server's clock goes on
            await asyncio.sleep(0.05)
        return aged

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
        for aged in self._aged[len(self._sums) - 1 :]:
            self._sums.append(self._sums[-1] + aged.by)
        async for entry in self.inner.list_objects(prefix):
            passed = self._sums[bisect_left(self._aged, entry.modified, key=itemgetter(0))]
            yield StoredObject(entry.key, entry.size, entry.modified + passed)

    async def close(self) -> None:
        await self.inner.close()
