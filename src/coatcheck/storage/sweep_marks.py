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

from coatcheck.contracts.store import StoredObject
from coatcheck.errors import (
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.format.suites import ScopeSealer
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
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

_LEASE: Final = re.compile(r"-sweep-lease-([0-9a-f]{32})-(0|[1-9][0-9]{0,5})")
_DELETING: Final = re.compile(r"-sweep-deleting-([0-9a-f]{32})-(0|[1-9][0-9]{0,5})")
_CONTENT: Final = struct.Struct(">16sqq")
_LIMIT: Final = 4096
"""Bytes of a sealed mark, and many to spare."""
_MOST_LEASES: Final = 100
"""That are looked at. A sweep makes one, and one more each time that it was interrupted."""
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
    client: StoreClient, scope: ScopeSealer, name: str, stamp: datetime | None
) -> SweepMark | None:
    """Return what the mark of this name says; None if it is not authentic, or was put back.

    Args:
        client: To the store.
        scope: In which it is.
        name: One of the above.
        stamp: When the store says that it was written; None if it did not.

    Raises:
        PayloadNotFound: There is none.
        StoreError: The store cannot or will not give it.
    """
    try:
        data = await client.get_uncached(scope.prefix + name, _LIMIT, _LIMIT)
        mark = opened_mark(scope, name, data)
    except (FormatError, IntegrityError, LimitExceeded):
        return None
    if stamp is not None and abs(stamp - mark.made) > COPIED_BACK_AFTER:
        return None
    named = lease_of(name) or deleting_of(name)
    return mark if named is None or named[0] == mark.id else None


async def protect_from_sweep(client: StoreClient, scope: ScopeSealer) -> None:
    """Take a scope back from a sweep that has marked it. One bounded request, where none has.

    The writer writes :data:`SWEEP_ALIVE` and then looks for a lease; the sweep makes its lease and then looks for
    :data:`SWEEP_ALIVE`. So at least one of them sees the other (Dekker, 1965: stores give what was written to whoever asks
    afterwards). What is in the scope has to be looked for after this returns, not before.

    A mark that is not authentic may stand where somebody overwrote one, so the scope is taken for marked; a lease that is not
    authentic means nothing.

    Raises:
        StoreUnavailable: It is too late: the scope is being swept.
        StoreError: The store cannot or will not say.
    """
    marks = await _listed(client, scope.prefix + SWEEP_MARK, 1)
    if marks == []:
        return
    try:
        mark = await read_mark(client, scope, SWEEP_MARK, marks[0].modified if marks else None)
    except PayloadNotFound:
        return
    except StoreDenied:
        if marks:
            raise
        return  # without the right to list, S3 calls denied what is missing
    await client.replace(scope.prefix + SWEEP_ALIVE, b"")
    leases = await _listed(client, scope.prefix + SWEEP_LEASE, _MOST_LEASES + 1)
    if leases is not None and len(leases) > _MOST_LEASES:
        raise StoreUnavailable(
            f"the scope has more than {_MOST_LEASES} leases of sweeps, most of which no sweep made",
            f"Find out who writes to the store, and delete what begins with {SWEEP_LEASE!r} there.",
            scope.prefix,
        )
    names = [(entry.key.removeprefix(scope.prefix), entry) for entry in leases or ()]
    looks = [_is_lease(client, scope, name, entry) for name, entry in names if lease_of(name)]
    if leases is None and mark is not None:
        looks = [_is_lease(client, scope, lease(mark.id, 0), None)]
    if any(await all_at_once(looks)):
        raise StoreUnavailable(
            "the scope is being swept, since the engine knew none of its runs",
            "Retry. If a sweep was interrupted, run it again: the next one an hour later finishes what is left.",
        )


def _parts(pattern: re.Pattern[str], name: str) -> tuple[bytes, int] | None:
    found = pattern.fullmatch(name)
    return (bytes.fromhex(found[1]), int(found[2])) if found else None


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


async def _listed(client: StoreClient, prefix: str, count: int) -> list[StoredObject] | None:
    """None where the store may not be listed. Caches and replicas have no part in a listing."""
    try:
        return await client.list_first(prefix, count)
    except StoreDenied:
        return None


async def _is_lease(client: StoreClient, scope: ScopeSealer, name: str, entry: StoredObject | None) -> bool:
    try:
        return await read_mark(client, scope, name, entry.modified if entry else None) is not None
    except PayloadNotFound:
        return False
    except StoreDenied:
        if entry is not None:
            raise
        return False
