"""Repeated content in a journal."""

from dataclasses import dataclass
from operator import attrgetter

from blake3 import blake3
from pyfastcdc import FastCDC

from coatcheck.doctor.journal import Form, Journal
from coatcheck.doctor.places import Place, place_of

_CHUNKER = FastCDC(avg_size=1024, min_size=512, max_size=4096)
"""Sizes in bytes, about those of one message of a conversation: the unit that payloads repeat."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A payload that occurs several times in the journal, byte for byte."""

    places: tuple[Place, ...]
    """All its places, in order."""

    @property
    def again(self) -> int:
        """Bytes of all but the first."""
        return self.places[0].size * (len(self.places) - 1)


@dataclass(frozen=True, slots=True)
class Carried:
    """The amount of plain payloads' content that occurred earlier in the journal."""

    size: int
    """Bytes of all plain payloads."""
    again: int
    """Bytes of them that already occurred, in the same payload or an earlier one."""

    @property
    def share(self) -> float:
        """The share of all their bytes."""
        return self.again / self.size if self.size else 0.0


def repeats(journal: Journal) -> list[Repeat]:
    """Return the payloads that repeat, the most expensive first."""
    same: dict[bytes, list[Place]] = {}
    for event in journal.events:
        for payload in event.payloads:
            if payload.content:
                same.setdefault(payload.content, []).append(place_of(event, payload))
    several = [Repeat(tuple(group)) for group in same.values() if len(group) > 1]
    return sorted(several, key=attrgetter("again"), reverse=True)


class Stretches:
    """Finds content that occurred earlier, in the same payload or in one before it. Keeps digests, no content."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._size = self._again = 0

    def add(self, content: bytes) -> None:
        """Take the next payload."""
        view = memoryview(content)
        self._size += len(view)
        for chunk in _CHUNKER.cut_buf(content):
            stretch = blake3(view[chunk.offset : chunk.offset + chunk.length]).digest()
            if stretch in self._seen:
                self._again += chunk.length
            self._seen.add(stretch)

    @property
    def carried(self) -> Carried:
        """The amount so far."""
        return Carried(self._size, self._again)


def carried(journal: Journal) -> Carried:
    """Measure repeated content. Compressed and offloaded payloads cannot be compared and are left out."""
    stretches = Stretches()
    for event in journal.events:
        for payload in event.payloads:
            if payload.form is Form.PLAIN:
                stretches.add(payload.content)
    return stretches.carried
