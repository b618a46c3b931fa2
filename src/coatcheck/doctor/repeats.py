"""What a journal holds more than once."""

from collections.abc import Iterable
from dataclasses import dataclass

from pyfastcdc import FastCDC

from coatcheck.doctor.journal import Form
from coatcheck.doctor.places import Place

_CHUNKER = FastCDC(avg_size=1024, min_size=512, max_size=4096)
"""Sizes in bytes: about those of one message of a conversation, which is what payloads carry along."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A payload that stands in the journal several times, byte for byte."""

    places: tuple[Place, ...]
    """All of them, in order."""

    @property
    def size(self) -> int:
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


def repeats(found: Iterable[Place]) -> list[Repeat]:
    """The payloads that repeat, those first that cost most."""
    same: dict[bytes, list[Place]] = {}
    for place in found:
        if place.entry.content:
            same.setdefault(place.entry.content, []).append(place)
    several = [Repeat(tuple(group)) for group in same.values() if len(group) > 1]
    return sorted(several, key=lambda repeat: repeat.size, reverse=True)


def carried(found: Iterable[Place]) -> Carried:
    """Measure what is carried again. What is compressed or elsewhere cannot be told and is left out."""
    size = again = 0
    seen: set[int] = set()
    for place in found:
        if place.entry.form is not Form.PLAIN:
            continue
        view = memoryview(place.entry.content)
        size += len(view)
        for chunk in _CHUNKER.cut_buf(place.entry.content):
            fingerprint = hash(bytes(view[chunk.offset : chunk.offset + chunk.length]))
            if fingerprint in seen:
                again += chunk.length
            seen.add(fingerprint)
    return Carried(size, again)
