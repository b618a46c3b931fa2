"""The marks with which a sweep keeps its progress in a store, next to the objects of the scope.

All marks but :data:`SWEEP_ALIVE` are sealed under the scope's key and bound to their names, so that write access to the
store is not enough to make one. All names begin with a hyphen, which sorts before the names of objects: a listing in key
order shows a mark before the first object. No name is 64 hexadecimal digits, or has 26 digits after its first hyphen, so
none can be mistaken for an object or a record.
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
"""A writer needs something in a scope that has a mark. Counts as an object of the scope, whoever wrote it: it can only
prevent deletion."""
SWEEP_LEASE: Final = "-sweep-lease-"
"""Followed by the mark's id and a number: a sweep is about to look at the scope for the last time. The sweep that creates
the next number owns the scope."""
SWEEP_DELETING: Final = "-sweep-deleting-"
"""Followed by the mark's id and a number of checkpoints: in that last look, nothing had been written. Objects up to the
time in it are not reachable, except those that this number of latest checkpoints needs."""
MOST_KEPT: Final = 999_999
"""Maximum number of checkpoints of a run that a sweep can keep."""
LAST_LEASE: Final = 999_999
"""Highest number of a lease."""
MARK_ID_LENGTH: Final = 16
"""Bytes."""
COPIED_BACK_AFTER: Final = timedelta(hours=1)
"""A mark whose time differs by more than this from its time stamp in the store was copied back."""

_LEASE: Final = re.compile(r"-sweep-lease-([0-9a-f]{32})-(0|[1-9][0-9]{0,5})")
_DELETING: Final = re.compile(r"-sweep-deleting-([0-9a-f]{32})-(0|[1-9][0-9]{0,5})")
_CONTENT: Final = struct.Struct(">16sqq")
_LIMIT: Final = 4096
"""Bytes of a sealed mark; more than enough."""
_MOST_LEASES: Final = 100
"""Leases that are read. A sweep makes one, and one more after each interruption."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SweepMark:
    """The sealed content of a mark."""

    id: bytes
    """16 random bytes, the same in all marks of one sweep of a scope, so that nobody can use their names in advance."""
    made: datetime
    """Time of writing by the store's clock."""
    until: datetime
    """Nothing that was written later than this is deleted."""


def lease(mark_id: bytes, number: int) -> str:
    """Return the name of a lease on a scope.

    Args:
        mark_id: The id in the mark.
        number: The lease's number, 0 to :data:`LAST_LEASE`.
    """
    return f"{SWEEP_LEASE}{mark_id.hex()}-{number}"


def lease_of(name: str) -> tuple[bytes, int] | None:
    """Return the arguments of :func:`lease` for a name; None if it is not one."""
    return _parts(_LEASE, name)


def deleting(mark_id: bytes, keep: int) -> str:
    """Return the name of the mark of a deletion.

    Args:
        mark_id: The id in the mark.
        keep: Number of latest checkpoints whose objects are not deleted.
    """
    return f"{SWEEP_DELETING}{mark_id.hex()}-{keep}"


def deleting_of(name: str) -> tuple[bytes, int] | None:
    """Return the arguments of :func:`deleting` for a name; None if it is not one."""
    return _parts(_DELETING, name)


def is_sweeps_own(name: str) -> bool:
    """Return True if it is a name that a sweep uses, so that it is no sign of life, whoever wrote it."""
    return name == SWEEP_MARK or lease_of(name) is not None or deleting_of(name) is not None


def seal_mark(scope: ScopeSealer, name: str, mark: SweepMark) -> bytes:
    """Return the sealed bytes of a mark.

    Args:
        scope: The sealer of the scope.
        name: The mark's name, one of the above.
        mark: Its content.
    """
    return seal_record(scope, name, _CONTENT.pack(mark.id, _micros(mark.made), _micros(mark.until)))


def opened_mark(scope: ScopeSealer, name: str, data: bytes) -> SweepMark:
    """Return the mark that :func:`seal_mark` sealed with the same scope and name.

    Args:
        scope: The sealer of the scope.
        name: The mark's name.
        data: The sealed bytes.

    Raises:
        FormatError: ``data`` is not a mark.
        IntegrityError: It was not sealed for this scope and name.
    """
    content = open_record(scope, name, data)
    try:
        mark_id, made, until = _CONTENT.unpack(content)
        return SweepMark(mark_id, _time(made), _time(until))
    except (struct.error, OverflowError):
        raise FormatError(
            "not a mark of a sweep", "Upgrade coatcheck, or find out who wrote it.", name
        ) from None


async def read_mark(
    client: StoreClient, scope: ScopeSealer, name: str, stamp: datetime | None
) -> SweepMark | None:
    """Read a mark; None if it is not authentic, or was copied back.

    Args:
        client: The store.
        scope: The sealer of the scope.
        name: The mark's name, one of the above.
        stamp: Its time of writing by the store; None if unknown.

    Raises:
        PayloadNotFound: The mark does not exist.
        StoreError: The store cannot or will not return it.
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
    """Protect a scope from a sweep that has marked it. One bounded request if there is no mark.

    The writer writes :data:`SWEEP_ALIVE` and then looks for a lease; the sweep makes its lease and then looks for
    :data:`SWEEP_ALIVE`. So at least one of them sees the other (Dekker, 1965; it requires that stores return written
    objects to all later requests). Look for objects in the scope after this returns, not before.

    A mark that is not authentic may have overwritten a real one, so the scope counts as marked. A lease that is not
    authentic is ignored.

    Args:
        client: The store.
        scope: The sealer of the scope.

    Raises:
        StoreUnavailable: It is too late: the scope is being swept.
        StoreError: The store cannot or will not answer.
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
        return  # without the permission to list, S3 answers "denied" for a missing object
    await client.replace(scope.prefix + SWEEP_ALIVE, b"")
    leases = await _listed(client, scope.prefix + SWEEP_LEASE, _MOST_LEASES + 1)
    if leases is not None and len(leases) > _MOST_LEASES:
        raise StoreUnavailable(
            f"the scope has more than {_MOST_LEASES} leases of sweeps; most of them are not from sweeps",
            f"Find out who writes to the store, and delete the objects there that begin with {SWEEP_LEASE!r}.",
            scope.prefix,
        )
    names = [(entry.key.removeprefix(scope.prefix), entry) for entry in leases or ()]
    looks = [_is_lease(client, scope, name, entry) for name, entry in names if lease_of(name)]
    if leases is None and mark is not None:
        looks = [_is_lease(client, scope, lease(mark.id, 0), None)]
    if any(await all_at_once(looks)):
        raise StoreUnavailable(
            "the scope is being swept, since the engine knew none of its runs",
            "Retry. If a sweep was interrupted, run it again after an hour: it then finishes the rest.",
        )


def _parts(pattern: re.Pattern[str], name: str) -> tuple[bytes, int] | None:
    found = pattern.fullmatch(name)
    return (bytes.fromhex(found[1]), int(found[2])) if found else None


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


async def _listed(client: StoreClient, prefix: str, count: int) -> list[StoredObject] | None:
    """Return the first objects of a listing, which has no caches or replicas in it; None if listing is denied."""
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
