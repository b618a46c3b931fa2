"""A small pool of payloads in families of similar ones, so that the same one recurs and deltas arise."""

import random
from functools import cache
from typing import Final

FAMILIES: Final = 3
_VERSIONS: Final = 4
POOL: Final = FAMILIES * _VERSIONS
FRESH: Final = 1000
"""Numbers from here on are all of one family, and each is another payload."""


@cache
def payload(number: int) -> bytes:
    """Those of a family begin alike and share most; those of the last one grow, as an agent's transcript does."""
    if number < FRESH:
        number %= POOL
    family, version = (0, number) if number >= FRESH else (number % FAMILIES, number // FAMILIES)
    source = random.Random(family)
    # Begins as no JSON does: a checkpoint stores it as it is.
    text = b"Transcript " + source.randbytes(700).hex().encode()
    if family == FAMILIES - 1:
        return text + b"".join(source.randbytes(200).hex().encode() for _ in range(version))
    return text + b'{"field": "%d"}' % version + source.randbytes(300).hex().encode()
