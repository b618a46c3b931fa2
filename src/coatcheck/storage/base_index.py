"""Which earlier payload of a scope a new one is best expressed by.

Deltas against the last payload would be the smallest, but reading the n-th back would take n objects. A lineage is a
skip list instead: the payload at place i has the one at place ``i & (i - 1)`` as its base (i with its lowest set bit
cleared), so it is at most popcount(i) objects from one that stands alone.
"""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass

from pyfastcdc import FastCDC

_CHUNKER = FastCDC(avg_size=16_384, min_size=14_336, max_size=65_536)
"""Sizes in bytes. Where a chunk ends depends on the bytes just before, so equal stretches of two payloads have equal
chunks wherever they stand (FastCDC: Xia et al., USENIX ATC 2016). The least size is near the average because it is skipped unread: 10 GB/s."""
_HEAD = 512
"""Bytes. Payloads of one chunk have no end in common, but those that grow have the same beginning."""
_MAX_PRINTS = 256
"""Of a large payload, those with the smallest values: the same ones in both of two similar payloads (bottom-k sketch:
Cohen and Kaplan, PODC 2007)."""
_MAX_REMEMBERED = 16_384
_PRINT_COST = 400
"""Bytes of memory for a print and its share of the members that have it."""
_MAX_HOLDERS = 4
"""Members remembered for a chunk: agents that take turns in one run share a prompt, and each must find its own."""

Sketch = frozenset[int]
"""What a payload is recognised by, within this process only."""


def sketch(data: bytes) -> Sketch:
    """Fingerprints of the content-defined chunks of ``data``, and of its beginning."""
    prints = [hash((chunk.gear_hash, chunk.length)) for chunk in _CHUNKER.cut_buf(data)]
    if len(prints) > _MAX_PRINTS:
        prints = heapq.nsmallest(_MAX_PRINTS, prints)
    return frozenset([*prints, hash(data[:_HEAD])])


@dataclass(frozen=True, slots=True)
class Member:
    """A stored payload and its place in a lineage."""

    object_id: bytes
    place: int = 0
    """0 for a payload that stands alone."""
    bases: tuple[bytes, ...] = ()
    """The objects that it is a delta against, nearest first: as many as ``place`` has bits set."""

    def next(self) -> tuple[int, tuple[bytes, ...]]:
        """The place that follows, and the bases of a payload that takes it."""
        place = self.place + 1
        at, bases = self.place, (self.object_id, *self.bases)
        while at != place & (place - 1):
            at, bases = at & (at - 1), bases[1:]
        return place, bases


_Numbered = tuple[int, Member]
"""Numbered in the order in which they were added."""


class BaseIndex:
    """The payloads of one scope by their content. Safe to use from several threads."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[_Numbered, ...]] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._latest)

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes, roughly."""
        return len(self._latest) * _PRINT_COST

    def add(self, member: Member, prints: Sketch) -> None:
        """Remember a payload whose object is durable."""
        entry = next(self._count), member
        for fingerprint in prints:
            others = self._latest.pop(fingerprint, ())
            self._latest[fingerprint] = (*others[1 - _MAX_HOLDERS :], entry)
        excess = len(self._latest) - _MAX_REMEMBERED
        if excess > 0:
            for oldest in list(itertools.islice(self._latest, excess)):
                self._latest.pop(oldest, None)

    def most_like(self, prints: Sketch) -> Member | None:
        """The member that shares most with a payload, of equals the latest; None where none shares anything."""
        holders = [entry for fingerprint in prints for entry in self._latest.get(fingerprint, ())]
        if not holders:
            return None
        votes = Counter(number for number, _ in holders)
        _, best = max(zip(votes.values(), votes, strict=True))
        return dict(holders)[best]
