"""The names under which a sweep keeps its place in a store, next to the objects of the scope that it is about.

They have no hyphen with 26 digits behind it and are no 64 hexadecimal digits, so none is taken for a record or an object.
"""

import re
from typing import Final

TOMBSTONE: Final = "tombstone"
"""The engine knew no run of the scope when this was written."""
ALIVE: Final = "alive"
"""A writer has found something that it needs in a scope with a tombstone. Counts as an object of the scope."""
CONDEMNED: Final = "condemned-"
"""With a number: a sweep is about to look at the scope for the last time. Who creates the next number owns the scope."""
DELETING: Final = "deleting-"
"""With a number: that look was taken, and nothing had been written. What is older than the tombstone is reached by nobody,
but for what so many of the latest checkpoints need."""
MOST_KEPT: Final = 999_999
"""Checkpoints of a run that a sweep can be told to keep."""

_SCOPE: Final = re.compile(r"([0-9a-f]{32}/[0-9a-f]{32}/)([^/]+)")
_OBJECT: Final = re.compile(r"[0-9a-f]{64}")
_RECORD: Final = re.compile(r"[a-z]{1,12}-[0-9]{26}-[0-9a-f]{16}")
_CLAIM: Final = re.compile(r"condemned-([0-9]{1,6})")
_DELETING: Final = re.compile(r"deleting-([0-9]{1,6})")


def split(key: str) -> tuple[str, str] | None:
    """The scope's prefix and the name in it; None for a key that is none of a scope's."""
    found = _SCOPE.fullmatch(key)
    return (found[1], found[2]) if found else None


def is_object(name: str) -> bool:
    """Whether it is an object's."""
    return _OBJECT.fullmatch(name) is not None


def is_record(name: str) -> bool:
    """Whether it is what :class:`~coatcheck.storage.ledger.Ledger` calls something."""
    return _RECORD.fullmatch(name) is not None


def claim(number: int) -> str:
    """The name that owns a scope."""
    return f"{CONDEMNED}{number}"


def claim_of(name: str) -> int | None:
    """The number in a name of :func:`claim`; None for any other."""
    return _number(_CLAIM, name)


def deleting(keep: int) -> str:
    """The name that says what is being deleted: all but what the latest ``keep`` checkpoints need."""
    return f"{DELETING}{keep}"


def kept_while_deleting(name: str) -> int | None:
    """The number in a name of :func:`deleting`; None for any other."""
    return _number(_DELETING, name)


def is_sweeps_own(name: str) -> bool:
    """Whether a sweep wrote it, so that it says nothing of the scope's life."""
    return name == TOMBSTONE or claim_of(name) is not None or kept_while_deleting(name) is not None


def _number(pattern: re.Pattern[str], name: str) -> int | None:
    found = pattern.fullmatch(name)
    return int(found[1]) if found else None
