"""An index that finds the best base for a new payload of a scope.

Deltas against the last payload would be smallest, but decoding the n-th would take n objects. A delta chain is a skip
list instead: the base of the payload at place i is the one at place ``i & (i - 1)`` (i with its lowest set bit cleared),
so it is at most popcount(i) objects away from a whole one.
"""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass

from pyfastcdc import FastCDC

_CHUNKER = FastCDC(avg_size=16_384, min_size=14_336, max_size=65_536)
"""Sizes in bytes. A chunk's end depends on the bytes just before it, so equal parts of two payloads have equal chunks at
any position (FastCDC: Xia et al., USENIX ATC 2016). The minimum is near the average, since bytes below it are skipped: 10 GB/s."""
_HEAD = 512
"""Bytes. Payloads of one chunk share no chunk end, but growing ones share their beginning."""
_MAX_PRINTS = 256
"""Fingerprints of a large payload: those with the smallest values, which similar payloads share (bottom-k sketch:
Cohen and Kaplan, PODC 2007)."""
_MAX_REMEMBERED = 16_384
"""Fingerprints in one index."""
_PRINT_COST = 400
"""Bytes of memory for a fingerprint and its share of the members that have it."""
_MAX_HOLDERS = 4
"""Members for one fingerprint: agents that take turns in one run share a prompt, and each must find its own payloads."""

Sketch = frozenset[int]
"""Fingerprints that identify similar payloads, within this process only."""


def sketch(data: bytes) -> Sketch:
    """Return fingerprints of the content-defined chunks of ``data``, and of its beginning."""
    prints = [hash((chunk.gear_hash, chunk.length)) for chunk in _CHUNKER.cut_buf(data)]
    if len(prints) > _MAX_PRINTS:
        prints = heapq.nsmallest(_MAX_PRINTS, prints)
    return frozenset([*prints, hash(data[:_HEAD])])


@dataclass(frozen=True, slots=True)
class Member:
    """A stored payload and its place in a delta chain."""

    object_id: bytes
    place: int = 0
    """0 for a whole payload."""
    bases: tuple[bytes, ...] = ()
    """The objects that it is built on, nearest first: as many as ``place`` has bits set."""

    def next(self) -> tuple[int, tuple[bytes, ...]]:
        """Return the next place, and the bases of a payload in that place."""
        place = self.place + 1
        at, bases = self.place, (self.object_id, *self.bases)
        while at != place & (place - 1):
            at, bases = at & (at - 1), bases[1:]
        return place, bases


_Numbered = tuple[int, Member]
"""A member with its number in the order of addition."""


class BaseIndex:
    """The payloads of one scope by content. Safe to use from several threads."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[_Numbered, ...]] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._latest)

    @property
    def cost(self) -> int:
        """Bytes of memory in use, roughly."""
        return len(self._latest) * _PRINT_COST

    def add(self, member: Member, prints: Sketch) -> None:
        """Add a payload whose object is durable.

        Args:
            member: The payload.
            prints: Its sketch.
        """
        entry = next(self._count), member
        for fingerprint in prints:
            others = self._latest.pop(fingerprint, ())
            self._latest[fingerprint] = (*others[1 - _MAX_HOLDERS :], entry)
        excess = len(self._latest) - _MAX_REMEMBERED
        if excess > 0:
            for oldest in list(itertools.islice(self._latest, excess)):
                self._latest.pop(oldest, None)

    def most_like(self, prints: Sketch) -> Member | None:
        """Return the member that shares most with a payload, the latest of equals; None if none shares anything."""
        holders = [entry for fingerprint in prints for entry in self._latest.get(fingerprint, ())]
        if not holders:
            return None
        votes = Counter(number for number, _ in holders)
        _, best = max(zip(votes.values(), votes, strict=True))
        return dict(holders)[best]
