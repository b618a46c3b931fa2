"""A store with a cache on the local disk."""

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
    """Figures of a :class:`CachedStore` since it was created."""

    hits: int
    """Reads answered from the disk."""
    misses: int
    """Reads that went to the inner store."""
    bytes: int
    """Bytes in the folder, of all processes, when this store last changed or scanned it."""


class CachedStore(Store):
    """A store that caches copies of objects in files on the local disk.

    The copies are exactly the bytes of the inner store: encrypted if the chain encrypts. They survive a restart. A write goes
    to the inner store first and is copied once that has acknowledged it. Damaged copies (torn, truncated, flipped bits)
    are detected by a checksum, dropped, and fetched again. A disk that is full, read-only or broken fails no call: this
    is logged once, and the store continues without its cache.

    Bounded in bytes: when a write would exceed ``max_bytes``, the least recently used copies are removed until a tenth of it
    is free. The bound applies across restarts and to all processes that share the folder together; each process may
    exceed it by the files that it is writing. It counts bytes in files, not file system blocks.

    A copy proves nothing about the object: :meth:`get` can return bytes that the inner store no longer has, or now has in
    another form. To be certain, call :meth:`get_uncached`, or list. The copies follow replaces and deletes through this
    store, even if the process is killed. :meth:`get` can still return earlier bytes, until :meth:`get_uncached` or
    :meth:`forget`, or until the copy is removed to make room: after a change by another machine; after one that was
    cancelled or failed but took effect later; after one just before a power failure; and after a change by another
    process with the same folder, if this process was reading the object at that moment.

    Safe from several threads and event loops, and after a fork; the disk is used in threads. Needs POSIX file locks.

    Args:
        store: The inner store. Listings come only from it.
        folder: The folder of the copies, for this inner store only: two stores that share a folder could answer for each
            other. Created on the first write, for the owner only (files 0600, folders 0700). A folder that does not
            belong to this user or root, or that others may write, is not used, nor is anything in it that is not a
            regular file; that is logged once.
            Defaults to ``objects`` in the user's cache folder for coatcheck (``~/.cache/coatcheck`` on Linux).
        max_bytes: Most bytes of all copies together. Larger objects are not cached.
        trust_folder: Accept any owner and mode of the folder, as :class:`FileStore` does.

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
                f"max_bytes={max_bytes} must be positive", "To have no cache, use the inner store by itself."
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
        """Figures so far."""
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
            # Before, so that a process killed after the replace leaves no copy of the old object.
            await asyncio.to_thread(self._copies.drop, key)
            await self._store.replace(key, data)
            await asyncio.to_thread(self._copies.keep, key, data, lambda: call.undisturbed)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`. A copy of more than ``limit`` bytes is not read: the inner store is asked."""
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
        """See :meth:`Store.get_uncached`. The copy is replaced by the inner store's bytes, or dropped if there are none.

        Concurrent calls for this key leave no copy: they may have read an older one or a replica's.
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
            # Before, so that a process killed after the delete leaves no copy; after, for one that another process has
            # made meanwhile.
            await asyncio.to_thread(self._copies.drop, key)
            await self._store.delete(key)
            await asyncio.to_thread(self._copies.drop, key)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`: those of the inner store."""
        await self._store.delete_versions(prefix)

    async def forget(self, key: str) -> None:
        """Drop the copy, if any: the next :meth:`get` asks the inner store.

        For a reader that finds the bytes damaged: this may have happened on their way from the inner store, before the copy
        was made.

        Raises:
            ConfigError: ``key`` is malformed.
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
        """See :meth:`Store.close`. The copies stay on the disk."""
        await self._store.close()
