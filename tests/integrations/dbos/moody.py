"""A store that is slow, fails, or is dead, by the number of the write."""

import asyncio
from collections.abc import Callable
from typing import Literal

from coatcheck import MemoryStore, StoreDenied, StoreUnavailable

Mood = Literal["well", "slow", "fails", "loses the answer", "dead"]


class MoodyStore(MemoryStore):
    """Asks ``mood`` before each write: number by number, each number twice if the write is tried again."""

    def __init__(self, mood: Callable[[int], Mood] = lambda _: "well") -> None:
        super().__init__()
        self.mood = mood
        self.writes = 0
        self._failed: set[str] = set()

    async def create(self, key: str, data: bytes) -> bool:
        if key in self._failed:
            return await super().create(key, data)
        mood = self.mood(self.writes)
        self.writes += 1
        if mood == "dead":
            raise StoreDenied("the store is dead", "Revive it.")
        if mood == "slow":
            await asyncio.sleep(0.02)
        if mood in ("fails", "loses the answer"):
            self._failed.add(key)
            if mood == "loses the answer":
                await super().create(key, data)
            raise StoreUnavailable("the store fails", "Try again.")
        return await super().create(key, data)
