"""Opened payloads of this process, in memory."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from coatcheck.telemetry import observe_cache


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache has done since the process began."""

    hits: int
    misses: int
    size: int
    """Bytes that it holds now."""


class PayloadCache:
    """The most recently used opened payloads, up to a number of bytes. Safe to use from several threads.

    A key names its payload for ever, so nothing in it is ever stale.

    Args:
        max_size: Bytes. A payload of more than half of it is not kept.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._payloads: OrderedDict[str, bytes] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._lock = threading.Lock()

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and bytes, as of now."""
        with self._lock:
            return CacheStats(self._hits, self._misses, self._size)

    def get(self, key: str) -> bytes | None:
        """The payload, which is now the most recently used; None if it is not here."""
        with self._lock:
            payload = self._payloads.get(key)
            if payload is None:
                self._misses += 1
                return None
            self._hits += 1
            self._payloads.move_to_end(key)
            return payload

    def put(self, key: str, payload: bytes) -> None:
        """Keep the payload; the least recently used ones make room for it."""
        if len(payload) > self._max_size // 2:
            return
        with self._lock:
            self._size += len(payload) - len(self._payloads.pop(key, b""))
            self._payloads[key] = payload
            while self._size > self._max_size:
                _, oldest = self._payloads.popitem(last=False)
                self._size -= len(oldest)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._payloads.clear()
            self._size = 0


PROCESS_CACHE: Final = PayloadCache(256 * 2**20)
"""The one that every chain uses unless it is given another: 256 MiB."""
observe_cache(
    size=lambda: PROCESS_CACHE.stats.size,
    hits=lambda: PROCESS_CACHE.stats.hits,
    misses=lambda: PROCESS_CACHE.stats.misses,
)
