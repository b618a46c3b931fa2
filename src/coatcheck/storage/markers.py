"""The names under which a sweep keeps its place in a store, next to the objects of the scope that it is about.

Each mark but :data:`SWEEP_ALIVE` is sealed under the scope's key and bound to its name, so that who can merely write to the
store cannot make one. All names begin with a hyphen, which sorts before what objects are called: a listing that comes in order has
seen whether there is a mark before it comes to the first object. No name is 64 hexadecimal digits, or has 26 digits behind its first hyphen, so none is taken for an
object or a record.
"""

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from coatcheck.errors import FormatError, IntegrityError, LimitExceeded
from coatcheck.format.suites import ScopeSealer
from coatcheck.storage.access import Access
from coatcheck.storage.sealed_records import open_record, seal_record

SWEEP_MARK: Final = "-sweep-mark"
"""The engine knew no run of the scope when this was written."""
SWEEP_ALIVE: Final = "-sweep-alive"
"""A writer has found something that it needs in a scope with a mark. Counts as an object of the scope, whoever wrote it: it
can only keep."""
SWEEP_LEASE: Final = "-sweep-lease-"
"""With the mark's id and a number: a sweep is about to look at the scope for the last time. Who creates the next number owns
the scope."""
SWEEP_DELETING: Final = "-sweep-deleting-"
"""With the mark's id and a number: that look was taken, and nothing had been written. What was written up to the time in it is
reached by nobody, but for what so many of the latest checkpoints need."""
MOST_KEPT: Final = 999_999
"""Checkpoints of a run that a sweep can be told to keep."""
LAST_LEASE: Final = 999_999
MARK_ID_LENGTH: Final = 16
COPIED_BACK_AFTER: Final = timedelta(hours=1)
"""Between the time in a mark and its stamp in the store: one that differs by more was put back by somebody."""

_SCOPE: Final = re.compile(r"([0-9a-f]{32}/[0-9a-f]{32}/)([^/]+)")
_OBJECT: Final = re.compile(r"[0-9a-f]{64}")
_RECORD: Final = re.compile(r"[a-z]{1,12}-[0-9]{26}-[0-9a-f]{16}")
_LEASE: Final = re.compile(r"-sweep-lease-([0-9a-f]{32})-(0|[1-9][0-9]{0,5})")
_DELETING: Final = re.compile(r"-sweep-deleting-([0-9a-f]{32})-(0|[1-9][0-9]{0,5})")
_CONTENT: Final = struct.Struct(">16sqq")
_LIMIT: Final = 4096
"""Bytes of a sealed mark, and many to spare."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SweepMark:
    """The contents that are sealed in a mark."""

    id: bytes
    """16 random bytes, the same in all marks that go together: nobody can occupy their names beforehand."""
    made: datetime
    """By the store's clock."""
    until: datetime
    """Nothing that was written later than this is deleted."""


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


def lease(mark_id: bytes, number: int) -> str:
    """Return the name that owns a scope."""
    return f"{SWEEP_LEASE}{mark_id.hex()}-{number}"


def lease_of(name: str) -> tuple[bytes, int] | None:
    """Return what a name of :func:`lease` was made of; None for any other."""
    return _parts(_LEASE, name)


def deleting(mark_id: bytes, keep: int) -> str:
    """Return the name that says what is being deleted: all but what the latest ``keep`` checkpoints need."""
    return f"{SWEEP_DELETING}{mark_id.hex()}-{keep}"


def deleting_of(name: str) -> tuple[bytes, int] | None:
    """Return what a name of :func:`deleting` was made of; None for any other."""
    return _parts(_DELETING, name)


def is_sweeps_own(name: str) -> bool:
    """Tell if a sweep has such names, so that one says nothing of the scope's life, whoever wrote it."""
    return name == SWEEP_MARK or lease_of(name) is not None or deleting_of(name) is not None


def seal_mark(scope: ScopeSealer, name: str, mark: SweepMark) -> bytes:
    """Return what is to be written under ``name``, one of the above."""
    return seal_record(scope, name, _CONTENT.pack(mark.id, _micros(mark.made), _micros(mark.until)))


def opened_mark(scope: ScopeSealer, name: str, data: bytes) -> SweepMark:
    """Return what :func:`seal_mark` was given with the same scope and name.

    Raises:
        FormatError: ``data`` is not a mark.
        IntegrityError: It was not sealed for this scope and name.
    """
    content = open_record(scope, name, data)
    try:
        mark_id, made, until = _CONTENT.unpack(content)
        return SweepMark(mark_id, _time(made), _time(until))
    except (struct.error, OverflowError):
        raise FormatError("this is not a mark of a sweep") from None


async def read_mark(
    access: Access, scope: ScopeSealer, name: str, stamp: datetime | None
) -> SweepMark | None:
    """Return what the mark of this name says; None if it is not authentic, or was put back.

    Args:
        access: To the store.
        scope: In which it is.
        name: One of the above.
        stamp: When the store says that it was written; None if it did not.

    Raises:
        PayloadNotFound: There is none.
        StoreError: The store cannot or will not give it.
    """
    try:
        data = await access.get_uncached(scope.prefix + name, _LIMIT, _LIMIT)
        mark = opened_mark(scope, name, data)
    except (FormatError, IntegrityError, LimitExceeded):
        return None
    if stamp is not None and abs(stamp - mark.made) > COPIED_BACK_AFTER:
        return None
    named = lease_of(name) or deleting_of(name)
    return mark if named is None or named[0] == mark.id else None


def _parts(pattern: re.Pattern[str], name: str) -> tuple[bytes, int] | None:
    found = pattern.fullmatch(name)
    return (bytes.fromhex(found[1]), int(found[2])) if found else None


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
