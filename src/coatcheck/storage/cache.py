"""The process's cache of opened payloads, in memory."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from coatcheck.contracts.store import Store
from coatcheck.format.envelope import Body
from coatcheck.runtime.forks import new_lock
from coatcheck.telemetry import observe_cache


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counters of a cache since the process began."""

    hits: int
    misses: int
    size: int
    """Bytes of memory in use now: payloads and overhead."""


Cached = bytes | Body
"""A payload; or the body from which to decode it, if it was only needed as a base so far."""


_PAYLOAD_COST: Final = 400
"""Bytes of memory for an entry beside its payload (measured: 334)."""
_BODY_COST: Final = 720
_BASE_COST: Final = 80


class PayloadCache:
    """A cache of the most recently used payloads, up to a number of bytes. Safe to use from several threads.

    The overhead of each entry counts as well, so a cache of many tiny payloads stays within its limit.

    A key always names the same payload, so no entry is ever out of date. One payload can have several bodies, depending
    on the store, so a body is only returned to the owner that put it.

    Args:
        max_size: Bytes. Payloads larger than half of it are not cached.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._entries: OrderedDict[str, tuple[Cached, object]] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._lock = new_lock()

    @property
    def stats(self) -> CacheStats:
        """The current counters."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._size)

    def get(self, key: str) -> bytes | None:
        """Return the payload and make it the most recently used; None if it is not cached."""
        found = self.find(key, None)
        return None if isinstance(found, Body) else found

    def find(self, key: str, owner: object) -> Cached | None:
        """Return the payload, or else its body if this ``owner`` put one; None if neither is cached."""
        with self._lock:
            found, its_owner = self._entries.get(key, _NOTHING)
            if found is None or (isinstance(found, Body) and (owner is None or its_owner is not owner)):
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return found

    def put(self, key: str, payload: bytes) -> None:
        """Cache a payload, and drop the least recently used ones if necessary."""
        with self._lock:
            self._put(key, payload, None)

    def put_body(self, key: str, body: Body, owner: object) -> None:
        """Cache the body of a payload, unless the payload itself is cached.

        Args:
            key: The payload's name.
            body: The body to decode it from.
            owner: The only object to which :meth:`find` returns the body.
        """
        with self._lock:
            if not isinstance(self._entries.get(key, _NOTHING)[0], bytes):
                self._put(key, body, owner)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _put(self, key: str, entry: Cached, owner: object) -> None:
        size = cost_of(entry)
        if size > self._max_size // 2:
            return
        self._size += size - cost_of(self._entries.pop(key, _NOTHING)[0])
        self._entries[key] = entry, owner
        while self._size > self._max_size:
            _, (oldest, _) = self._entries.popitem(last=False)
            self._size -= cost_of(oldest)


_NOTHING: Final = None, None


def cost_of(entry: Cached | None) -> int:
    """Return the bytes of memory for an entry, roughly."""
    if entry is None:
        return 0
    if isinstance(entry, Body):
        return len(entry.data) + _BODY_COST + len(entry.header.bases) * _BASE_COST
    return len(entry) + _PAYLOAD_COST


class _StoreNames:
    """Names of stores within this process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._next = itertools.count()
        self._names: WeakKeyDictionary[Store, str] = WeakKeyDictionary()

    def of(self, store: Store) -> str:
        with self._lock:
            name = self._names.get(store)
            if name is None:
                name = self._names[store] = f"{next(self._next):x}"
            return name


_names: Final = _StoreNames()


def store_name(store: Store) -> str:
    """Return the unique name of this store object in cache keys.

    Without keys, whoever can write to one store decides what its objects contain: they must not be used for another one.
    """
    return _names.of(store)


PROCESS_CACHE: Final = PayloadCache(256 * 2**20)
"""The default cache of all chains: 256 MiB."""
observe_cache(
    size=lambda: PROCESS_CACHE.stats.size,
    hits=lambda: PROCESS_CACHE.stats.hits,
    misses=lambda: PROCESS_CACHE.stats.misses,
)
