"""A store with a cache on the local disk in front of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject, check_key
from coatcheck.errors import ConfigError, LimitExceeded, PayloadNotFound
from coatcheck.runtime.forks import new_lock
from coatcheck.stores._cache.folder import CacheFolder
from coatcheck.stores._cache.overlaps import Overlaps

DEFAULT_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class CachedStoreStats:
    """What a :class:`CachedStore` has done since it was made."""

    hits: int
    """Reads that the disk answered."""
    misses: int
    """Reads that went to the inner store."""
    bytes: int
    """What the folder held when this store last changed it or looked through it; all processes' files."""


class CachedStore(Store):
    """Keeps copies of objects in files on the local disk, so that what was read or written once is near.

    The copies are the very bytes that the inner store holds: sealed if the chain encrypts. They survive a restart.
    A write goes to the inner store first and is copied once that has acknowledged it. Damaged copies (torn,
    truncated, flipped bits) are found by a checksum, dropped, and fetched again. A disk that is full, read-only or
    broken fails no call: it is logged once, and the store goes on without its cache.

    Bounded in bytes: when a write would exceed ``max_bytes``, the least recently used copies go until a tenth of it
    is free. The bound holds across restarts and for all processes that share the folder together; each process
    may exceed it by what it is writing at that moment. It counts bytes in files, not file system blocks.

    A copy proves nothing about the object: :meth:`get` can give bytes that the inner store no longer has, or has in
    another form by now. Who has to know asks :meth:`get_uncached`, or lists. The copies follow replaces and deletes
    that go through this store, also if the process is killed. Earlier bytes can still be read here, until
    :meth:`get_uncached` or :meth:`forget`, or until room is made: after a change that another machine made, one that was
    cancelled or failed and yet took effect later, or one just before a power failure; and after a change of another process
    with the same folder, if this one was reading the object at that moment.

    Safe from several threads and event loops, and after a fork; the disk is used in threads. Needs POSIX file locks.

    Args:
        store: The inner store. Listings come from it alone.
        folder: For this inner store only: two that share a folder could answer for each other. Made on the first
            write, for the owner only (files 0600, folders 0700). A folder that is not this user's or root's, or that
            others may write, is not used, nor is anything in it that is no regular file; that is logged once.
            Defaults to ``objects`` in the user's cache folder for coatcheck (``~/.cache/coatcheck`` on Linux).
        max_bytes: The bound. Objects that are larger are not cached.
        trust_folder: Use the folder whoever owns and may write it, as :class:`FileStore` does.

    Raises:
        ConfigError: ``max_bytes`` is not positive.
    """

    def __init__(
        self,
        store: Store,
        folder: str | Path | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        trust_folder: bool = False,
    ) -> None:
        if max_bytes < 1:
            raise ConfigError(
                f"a cache of {max_bytes} bytes makes no sense", "Use the inner store by itself for no cache."
            )
        self.folder = Path(folder) if folder is not None else user_cache_path("coatcheck") / "objects"
        self._store = store
        self._copies = CacheFolder(self.folder, max_bytes, trusted=trust_folder)
        self._overlaps = Overlaps()
        self._counting = new_lock()
        self._hits = 0
        self._misses = 0

    def __repr__(self) -> str:
        return f"CachedStore({self._store!r}, {str(self.folder)!r})"

    @property
    def stats(self) -> CachedStoreStats:
        """What the cache has done so far."""
        with self._counting:
            return CachedStoreStats(self._hits, self._misses, self._copies.bytes)

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        with self._overlaps.watch(check_key(key), changes=False) as call:
            created = await self._store.create(key, data)
            if created:
                await asyncio.to_thread(self._copies.keep, key, data, lambda: call.undisturbed)
        return created

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        with self._overlaps.watch(check_key(key), changes=True) as call:
            # Before, so that a process killed after the replace leaves no copy of what was there.
            await asyncio.to_thread(self._copies.drop, key)
            await self._store.replace(key, data)
            await asyncio.to_thread(self._copies.keep, key, data, lambda: call.undisturbed)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`. A copy of more than ``limit`` bytes is not read; the inner store is asked."""
        copy = await asyncio.to_thread(self._copies.read, check_key(key), limit)
        with self._counting:
            self._hits += copy is not None
            self._misses += copy is None
        if copy is not None:
            return copy
        with self._overlaps.watch(key, changes=False) as call:
            data = await self._store.get(key, limit)
            await asyncio.to_thread(self._copies.keep, key, data, lambda: call.undisturbed)
        return data

    async def get_uncached(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get_uncached`. The copy becomes what the inner store has, or goes with the object.

        Other calls for this key, if they are under way meanwhile, leave no copy: they may have read an older one or a replica's.
        """
        with self._overlaps.watch(check_key(key), changes=True) as call:
            try:
                data = await self._store.get_uncached(key, limit)
            except (PayloadNotFound, LimitExceeded):
                await asyncio.to_thread(self._copies.drop, key)
                raise
            await asyncio.to_thread(self._copies.keep, key, data, lambda: call.undisturbed)
        return data

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        with self._overlaps.watch(check_key(key), changes=True):
            # Before, so that a process killed after the delete leaves no copy; after, for one that another
            # process has made meanwhile.
            await asyncio.to_thread(self._copies.drop, key)
            await self._store.delete(key)
            await asyncio.to_thread(self._copies.drop, key)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`: those of the inner store."""
        await self._store.delete_versions(prefix)

    async def forget(self, key: str) -> None:
        """Drop the copy, if there is one: the next :meth:`get` asks the inner store.

        For a reader who finds that the bytes are not what they should be: they may have been damaged on their way
        from the inner store, before their copy was made.

        Raises:
            ConfigError: ``key`` is no key.
        """
        with self._overlaps.watch(check_key(key), changes=True):
            await asyncio.to_thread(self._copies.drop, key)
        await self._store.forget(key)

    def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`: those of the inner store."""
        return self._store.list_objects(prefix)

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`: those of the inner store."""
        return await self._store.list_first(prefix, count)

    async def close(self) -> None:
        """See :meth:`Store.close`. The copies stay."""
        await self._store.close()
