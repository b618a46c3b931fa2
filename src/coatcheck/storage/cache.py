"""Payloads of this process, in memory."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from coatcheck.format.envelope import Body
from coatcheck.telemetry import observe_cache


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache has done since the process began."""

    hits: int
    misses: int
    size: int
    """Bytes that it holds now."""


Held = bytes | Body
"""A payload; or, of one that only others were built on so far, what it can be decoded from."""


class PayloadCache:
    """The most recently used payloads, up to a number of bytes. Safe to use from several threads.

    A key names its payload for ever, so nothing in it is ever stale.

    Args:
        max_size: Bytes. What has more than half of it is not kept.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._lock = threading.Lock()

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and bytes, as of now."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._size)

    def get(self, key: str) -> bytes | None:
        """The payload; None if it is not here. As :meth:`held`."""
        held = self.held(key)
        return None if isinstance(held, Body) else held

    def held(self, key: str) -> Held | None:
        """What there is of the payload, which is now the most recently used; None if it is not here."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                self._misses += 1
                return None
            self._hits += 1
            self._held.move_to_end(key)
            return held

    def put(self, key: str, held: Held) -> None:
        """Keep this, unless it is a body, and the payload is here; the least recently used make room for it."""
        size = _size(held)
        if size > self._max_size // 2:
            return
        with self._lock:
            before = self._held.get(key, b"")
            if isinstance(held, Body) and before and not isinstance(before, Body):
                return
            self._held.pop(key, None)
            self._size += size - _size(before)
            self._held[key] = held
            while self._size > self._max_size:
                _, oldest = self._held.popitem(last=False)
                self._size -= _size(oldest)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._size = 0


def _size(held: Held) -> int:
    return len(held.data if isinstance(held, Body) else held)


PROCESS_CACHE: Final = PayloadCache(256 * 2**20)
"""The one that every chain uses unless it is given another: 256 MiB."""
observe_cache(
    size=lambda: PROCESS_CACHE.stats.size,
    hits=lambda: PROCESS_CACHE.stats.hits,
    misses=lambda: PROCESS_CACHE.stats.misses,
)
