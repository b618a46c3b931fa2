"""Payloads of this process, in memory."""

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
    """What a cache has done since the process began."""

    hits: int
    misses: int
    size: int
    """Bytes of memory that it takes now: of payloads, and what it costs to keep them."""


Cached = bytes | Body
"""A payload; or, of one that only others were built on so far, what it can be decoded from."""


_PAYLOAD_COST: Final = 400
"""Bytes of memory that an entry takes beside its payload (measured: 334)."""
_BODY_COST: Final = 720
_BASE_COST: Final = 80


class PayloadCache:
    """The most recently used payloads, up to a number of bytes. Safe to use from several threads.

    What an entry takes beside its payload counts as well: a cache of many tiny payloads stays as small as it was told.

    A key names its payload for ever, so nothing in it is ever stale. A body is not the only one that its payload can be
    decoded from: which one there is depends on the store, so only its owner gets it back.

    Args:
        max_size: Bytes. What has more than half of it is not kept.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._entries: OrderedDict[str, tuple[Cached, object]] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._lock = new_lock()

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and bytes, as of now."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._size)

    def get(self, key: str) -> bytes | None:
        """Return the payload, which is now the most recently used; None if it is not here."""
        found = self.find(key, None)
        return None if isinstance(found, Body) else found

    def find(self, key: str, owner: object) -> Cached | None:
        """As :meth:`get`; where the payload itself is not here, return its body, if this ``owner`` put one."""
        with self._lock:
            found, its_owner = self._entries.get(key, _NOTHING)
            if found is None or (isinstance(found, Body) and (owner is None or its_owner is not owner)):
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return found

    def put(self, key: str, payload: bytes) -> None:
        """Keep the payload; the least recently used ones make room for it."""
        with self._lock:
            self._put(key, payload, None)

    def put_body(self, key: str, body: Body, owner: object) -> None:
        """Keep what the payload can be decoded from, unless that is here itself."""
        with self._lock:
            if not isinstance(self._entries.get(key, _NOTHING)[0], bytes):
                self._put(key, body, owner)

    def clear(self) -> None:
        """Forget everything."""
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
    """Return the bytes of memory that an entry takes, roughly."""
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
    """Return the name under which payloads of this store object are kept in caches, and those of no other.

    Without keys, whoever can write to one store says what its objects hold: that must not answer for another store.
    """
    return _names.of(store)


PROCESS_CACHE: Final = PayloadCache(256 * 2**20)
"""The one that every chain uses unless it is given another: 256 MiB."""
observe_cache(
    size=lambda: PROCESS_CACHE.stats.size,
    hits=lambda: PROCESS_CACHE.stats.hits,
    misses=lambda: PROCESS_CACHE.stats.misses,
)
