"""What a payload is decoded from: its object, then each what the one before it is a delta against."""

from collections.abc import Callable
from typing import Final, NamedTuple

from coatcheck.errors import FormatError
from coatcheck.format.envelope import Body
from coatcheck.storage.cache import Held

_MAX_LENGTH: Final = 64
"""A lineage of 2**64 payloads would have such a line. Only a forged chain without keys goes in circles."""


class Line(NamedTuple):
    """As far as it is at hand."""

    bodies: list[Body]
    """The nearest first; none where the payload itself is at hand."""
    base: bytes | None
    """The payload that the last of ``bodies`` is a delta against; None if that stands alone."""
    is_whole: bool
    """Whether nothing is missing."""


def line_of(held: Held | None, find: Callable[[bytes], Held | None]) -> Line:
    """The line of an object.

    Args:
        held: What is at hand of the object itself.
        find: What is at hand of another.

    Raises:
        FormatError: It leads back to itself.
    """
    bodies: list[Body] = []
    while isinstance(held, Body):
        bodies.append(held)
        if len(bodies) > _MAX_LENGTH:
            raise FormatError("a delta leads back to itself", "It was not written by coatcheck.")
        if not held.header.bases:
            return Line(bodies, None, is_whole=True)
        held = find(held.header.bases[0])
    return Line(bodies, held, is_whole=held is not None)
