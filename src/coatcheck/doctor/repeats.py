"""What a journal holds more than once."""

from dataclasses import dataclass
from operator import attrgetter

from blake3 import blake3
from pyfastcdc import FastCDC

from coatcheck.doctor.journal import Form, Journal
from coatcheck.doctor.places import Place, place_of

_CHUNKER = FastCDC(avg_size=1024, min_size=512, max_size=4096)
"""Sizes in bytes: about those of one message of a conversation, which is what payloads carry along."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A payload that stands in the journal several times, byte for byte."""

    places: tuple[Place, ...]
    """All of them, in order."""

    @property
    def again(self) -> int:
        """Bytes of all but the first."""
        return self.places[0].size * (len(self.places) - 1)


@dataclass(frozen=True, slots=True)
class Carried:
    """How much of what plain payloads hold stood in the journal before."""

    size: int
    """Bytes of all plain payloads."""
    again: int
    """Bytes of them in stretches that already occurred, in the same payload or an earlier one."""

    @property
    def share(self) -> float:
        """Of all of their bytes."""
        return self.again / self.size if self.size else 0.0


def repeats(journal: Journal) -> list[Repeat]:
    """The payloads that repeat, those first that cost most."""
    same: dict[bytes, list[Place]] = {}
    for event in journal.events:
        for entry in event.entries:
            if entry.content:
                same.setdefault(entry.content, []).append(place_of(event, entry))
    several = [Repeat(tuple(group)) for group in same.values() if len(group) > 1]
    return sorted(several, key=attrgetter("again"), reverse=True)


def carried(journal: Journal) -> Carried:
    """Measure what is carried again. What is compressed or elsewhere cannot be told and is left out."""
    size = again = 0
    seen: set[bytes] = set()
    for entry in (entry for event in journal.events for entry in event.entries if entry.form is Form.PLAIN):
        view = memoryview(entry.content)
        size += len(view)
        for chunk in _CHUNKER.cut_buf(entry.content):
            stretch = blake3(view[chunk.offset : chunk.offset + chunk.length]).digest()
            if stretch in seen:
                again += chunk.length
            seen.add(stretch)
    return Carried(size, again)
