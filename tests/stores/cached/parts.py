"""What the tests of CachedStore share."""

import asyncio
from pathlib import Path

from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.errors import StoreUnavailable
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.memory import MemoryStore

KEY = "t/s/o"
CHECKSUM = 16
"""Bytes that a copy has more than its object."""


class Inner(MemoryStore):
    """A memory store that counts what it is asked, and can be told to fail or to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0
        self.down = False
        self.waits = False
        self.asked = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def _pass(self) -> None:
        self.asked.set()
        if self.waits:
            await self.goes_on.wait()
        if self.down:
            raise StoreUnavailable("the inner store is down")

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.gets += 1
        data = await super().get(key, limit)
        await self._pass()
        return data

    async def create(self, key: str, data: bytes) -> bool:
        created = await super().create(key, data)
        await self._pass()
        return created

    async def replace(self, key: str, data: bytes) -> None:
        await super().replace(key, data)
        await self._pass()

    async def delete(self, key: str) -> None:
        await super().delete(key)
        await self._pass()


def copies(folder: Path) -> list[Path]:
    """All files but the size file."""
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in copies(folder))


async def cached(store: CachedStore, key: str = KEY) -> bytes | None:
    """What the disk answers, without the inner store."""
    return await asyncio.to_thread(store._copies.read, key)
