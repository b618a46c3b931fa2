"""What happens to objects without coatcheck: replication that lags, expiry, damage, and what others put there."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from coatcheck import Store
from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.format.layout import is_object, split
from coatcheck.retention.lifecycle_rules import least_days
from coatcheck.storage.store_time import store_time
from coatcheck.storage.sweep_marks import is_sweeps_own
from tests.machine.adapter import read
from tests.machine.oracle import LONGEST_RUN, RETENTION
from tests.retention.aged_store import AgedStore

_EXPIRES: Final = timedelta(days=least_days(LONGEST_RUN, RETENTION))
_LARGE: Final = bytes(2**20)
NAMES: Final = (
    "sweep-mark",
    "sweep-alive",
    f"sweep-lease-{'0' * 32}-0",
    f"sweep-deleting-{'0' * 32}-0",
    f"sweep-lease-{'f' * 32}-999999",
    f"sweep-deleting-{'0' * 32}-3",
    f"step-{'9' * 26}-{'0' * 16}",
    f"step-{'0' * 26}-{'f' * 16}",
    "nothing-we-know",
)


class Vandal:
    """Has no keys, and can do with each store what its owner or the world might.

    Args:
        store: The shared one.
        replica: Its replica.
        folder: Where the processes have their disks.
    """

    def __init__(self, store: AgedStore, replica: Store, folder: Path) -> None:
        self._store = store
        self._replica = replica
        self._folder = folder
        self._seen: dict[str, bytes] = {}

    async def look(self) -> None:
        """Remember what is there now."""
        for key in await self._keys(self._store):
            place = split(key)
            if place is not None and key not in self._seen:
                self._seen[key] = await read(self._store, key)

    async def expire(self) -> bool:
        """The bucket deletes what is old in the tenant's own scope."""
        now, tag = await store_time(self._store), f"/{TENANT_SCOPE_TAG.hex()}/"
        old = [
            entry.key
            async for entry in self._store.list_objects()
            if tag in entry.key and now - entry.modified > _EXPIRES
        ]
        for key in old:
            await self._store.delete(key)
        return bool(old)

    async def replicate(self, share: int) -> bool:
        """Copy each object, or each one in so many."""
        for number, key in enumerate(await self._keys(self._store)):
            if number % (share % 3 + 1) == 0:
                await self._replica.replace(key, await read(self._store, key))
        return True

    async def replicate_deletions(self) -> bool:
        for key in set(await self._keys(self._replica)) - set(await self._keys(self._store)):
            await self._replica.delete(key)
        return True

    async def damage_replica(self, which: int, how: int) -> bool:
        keys = await self._keys(self._replica)
        if not keys:
            return False
        key = keys[which % len(keys)]
        await self._replica.replace(key, _damaged(await read(self._replica, key), how))
        return True

    async def damage_copy(self, which: int, how: int) -> bool:
        """On the disk of one of the processes."""
        copies = sorted(path for path in self._folder.glob("*/??/*") if path.is_file())
        if not copies:
            return False
        copy = copies[which % len(copies)]
        copy.write_bytes(_damaged(copy.read_bytes(), how))
        return True

    async def plant_name(self, which: int, name: int) -> bool:
        """An object that is called as something of a scope might be, unless there is one."""
        return await self._plant(which, NAMES[name % len(NAMES)], b"" if name % 2 else b"planted")

    async def plant_large(self, which: int) -> bool:
        """Something large that is called as an object might be."""
        return await self._plant(which, random.Random(which).randbytes(32).hex(), _LARGE)

    async def plant_object(self, which: int, how: int) -> bool:
        """Something of another length in place of an object that was there, and is gone.

        Whoever can write other bytes of the same length can as well do so after the object was acknowledged.
        """
        key = await self._gone(which, is_object)
        return key is not None and await self._store.create(key, _damaged(self._seen[key], how % 3))

    async def plant_again(self, which: int) -> bool:
        """An object that was there, and is gone."""
        key = await self._gone(which, is_object)
        return key is not None and await self._store.create(key, self._seen[key])

    async def plant_mark_again(self, which: int) -> bool:
        """A mark of a sweep that was there, and is gone."""
        key = await self._gone(which, is_sweeps_own)
        return key is not None and await self._store.create(key, self._seen[key])

    async def _gone(self, which: int, is_wanted: Callable[[str], bool]) -> str | None:
        gone = sorted(self._seen.keys() - set(await self._keys(self._store)))
        wanted = [key for key in gone if is_wanted(key.rpartition("/")[2])]
        return wanted[which % len(wanted)] if wanted else None

    async def _plant(self, which: int, name: str, data: bytes) -> bool:
        scopes = sorted({place[0] for key in await self._keys(self._store) if (place := split(key))})
        return bool(scopes) and await self._store.create(scopes[which % len(scopes)] + name, data)

    @staticmethod
    async def _keys(store: Store) -> list[str]:
        return sorted([entry.key async for entry in store.list_objects()])


def _damaged(data: bytes, how: int) -> bytes:
    match how % 4:
        case 0:
            return data[: len(data) // 2]
        case 1:
            return b""
        case 2:
            return b"garbage" * 20
        case _:
            return data[:-1] + bytes([data[-1] ^ 1]) if data else b"garbage"
