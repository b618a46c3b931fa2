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


Held = bytes | Body
"""A payload; or, of one that only others were built on so far, what it can be decoded from."""


_PAYLOAD_COST: Final = 400
"""Bytes of memory that an entry takes beside its payload (measured: 334)."""
_BODY_COST: Final = 720
_BASE_COST: Final = 80


class PayloadCache:
    """The most recently used payloads, up to a number of bytes. Safe to use from several threads.

    What an entry takes beside its payload counts as well: a cache of many tiny payloads stays as small as it was told.

    A key names its payload for ever, so nothing in it is ever stale. A body is not the only one that its payload can be
    decoded from: which one there is depends on the store, so only who held it gets it back.

    Args:
        max_size: Bytes. What has more than half of it is not kept.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._held: OrderedDict[str, tuple[Held, object]] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._lock = new_lock()

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and bytes, as of now."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._size)

    def get(self, key: str) -> bytes | None:
        """The payload, which is now the most recently used; None if it is not here."""
        held = self.held(key, None)
        return None if isinstance(held, Body) else held

    def held(self, key: str, holder: object) -> Held | None:
        """As :meth:`get`; where the payload itself is not here, its body, if this ``holder`` held one."""
        with self._lock:
            held, its_holder = self._held.get(key, _NOTHING)
            if held is None or (isinstance(held, Body) and its_holder is not holder):
                self._misses += 1
                return None
            self._hits += 1
            self._held.move_to_end(key)
            return held

    def put(self, key: str, payload: bytes) -> None:
        """Keep the payload; the least recently used ones make room for it."""
        with self._lock:
            self._put(key, payload, None)

    def hold(self, key: str, body: Body, holder: object) -> None:
        """Keep what the payload can be decoded from, unless that is here itself."""
        with self._lock:
            if not isinstance(self._held.get(key, _NOTHING)[0], bytes):
                self._put(key, body, holder)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._size = 0

    def _put(self, key: str, held: Held, holder: object) -> None:
        size = cost_of(held)
        if size > self._max_size // 2:
            return
        self._size += size - cost_of(self._held.pop(key, _NOTHING)[0])
        self._held[key] = held, holder
        while self._size > self._max_size:
            _, (oldest, _) = self._held.popitem(last=False)
            self._size -= cost_of(oldest)


_NOTHING: Final = None, None


def cost_of(held: Held | None) -> int:
    """Return the bytes of memory that an entry takes, roughly."""
    if held is None:
        return 0
    if isinstance(held, Body):
        return len(held.data) + _BODY_COST + len(held.header.bases) * _BASE_COST
    return len(held) + _PAYLOAD_COST


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
