"""Facts about each scope from a listing, on disk: memory does not grow with the number of objects, scopes or runs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from coatcheck.contracts.store import StoredObject
from coatcheck.format.layout import is_record, split
from coatcheck.storage.sweep_marks import SWEEP_ALIVE, is_sweeps_own

_BATCH: Final = 1000
"""Scopes in memory before they are written to disk."""
_PAGE: Final = 500
MOST_MARKS: Final = 1000
"""Maximum number of marks in one scope that are read."""
_TENANT: Final = "substr(prefix, 1, 32)"
_TAG: Final = "substr(prefix, 34, 32)"
_SERIES: Final = "substr(prefix, 34, 16)"

# Times are microseconds since 1970. A scope may come in several parts, since the order of listings is not guaranteed.
_MAKE: Final = """
    CREATE TABLE scopes (
        prefix TEXT PRIMARY KEY, objects INTEGER, size INTEGER, oldest INTEGER, newest INTEGER, records INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE names (prefix TEXT, name TEXT, modified INTEGER, PRIMARY KEY (prefix, name)) WITHOUT ROWID;
    CREATE TABLE marks (
        prefix TEXT PRIMARY KEY, mark BLOB, due INTEGER, until INTEGER, owner BLOB, lease INTEGER, leased INTEGER,
        deletes_until INTEGER, keep INTEGER, highest INTEGER, forged INTEGER, crowded INTEGER, unread INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE live (tag TEXT, tenant TEXT, PRIMARY KEY (tag, tenant)) WITHOUT ROWID;
"""
_ADD: Final = """
    INSERT INTO scopes VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (prefix) DO UPDATE SET
        objects = objects + excluded.objects, size = size + excluded.size, records = records + excluded.records,
        oldest = min(ifnull(oldest, excluded.oldest), ifnull(excluded.oldest, oldest)),
        newest = max(ifnull(newest, excluded.newest), ifnull(excluded.newest, newest))
"""
_SCOPES: Final = f"""
    SELECT scopes.*,
        EXISTS (SELECT 1 FROM live WHERE tag IN ({_TAG}, {_SERIES}) AND tenant = {_TENANT}), marks.*
    FROM scopes LEFT JOIN marks USING (prefix) WHERE prefix > ? ORDER BY prefix LIMIT ?
"""  # noqa: S608 - of this module's own making
_FIGURES: Final = 6
"""Number of columns of ``scopes``."""


@dataclass(slots=True)
class ScopeMarks:
    """Facts from the authentic marks of one scope. Times are by the store's clock."""

    mark: bytes | None = None
    """The id in the mark; None if there is none."""
    due: datetime | None = None
    """Start of the mark's grace."""
    until: datetime | None = None
    """Nothing had been written later than this when the mark was made."""
    owner: bytes | None = None
    """The mark's id in the latest lease."""
    lease: int | None = None
    """The number of the latest lease."""
    leased: datetime | None = None
    """Time of writing of the latest lease."""
    deletes_until: datetime | None = None
    """Objects up to this time are being deleted: the owner, or one before it, has taken the last look."""
    keep: int = 0
    """Number of latest checkpoints whose objects are kept in that deletion."""
    highest: int = -1
    """The highest number in the names of its leases, authentic or not."""
    forged: int = 0
    """Number of marks that are not authentic, or were copied back."""
    crowded: bool = False
    """True if there are more marks than sweeps make, so that not all were read."""
    unread: bool = False
    """True if the store did not return the marks."""


@dataclass(slots=True)
class ScopeFacts:
    """Facts about one scope from a listing. Times are by the store's clock."""

    prefix: str
    objects: int = 0
    """Number of objects, including records, without marks of sweeps."""
    size: int = 0
    """Bytes of those objects."""
    oldest: datetime | None = None
    newest: datetime | None = None
    """The last sign of life, including a writer's own mark; None if there is none."""
    records: int = 0
    names: dict[str, datetime] = field(default_factory=dict)
    """Names of marks, with their times of writing: at most one more than :data:`MOST_MARKS`."""
    marks: ScopeMarks = field(default_factory=ScopeMarks)
    """Facts from those marks."""

    def add(self, name: str, entry: StoredObject) -> None:
        """Count an object of the scope.

        Args:
            name: Its key after the scope's prefix.
            entry: Its entry in the listing.
        """
        if is_sweeps_own(name):
            if len(self.names) <= MOST_MARKS:
                self.names[name] = entry.modified
            return
        self.newest = max(self.newest or entry.modified, entry.modified)
        if name != SWEEP_ALIVE:
            self.oldest = min(self.oldest or entry.modified, entry.modified)
            self.objects += 1
            self.size += entry.size
            self.records += is_record(name)


class Index:
    """Scopes and live scopes in a temporary database, which is deleted on close. A context manager; for one task.

    It contains tags and numbers, but no names of tenants or runs. Methods that take long yield to the event loop.
    """

    def __init__(self) -> None:
        # An empty name is a file that SQLite deletes when it is closed.
        self._base = sqlite3.connect("")
        self._base.executescript(_MAKE)
        self.objects = 0
        """Number of objects listed so far, in all scopes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close and delete the database."""
        self._base.close()

    async def list(self, entries: AsyncIterator[StoredObject]) -> None:
        """Add a listing. Objects that are not in a scope are left out."""
        batch: list[ScopeFacts] = []
        facts = ScopeFacts("")
        async for entry in entries:
            place = split(entry.key)
            if place is None:
                continue
            prefix, name = place
            if prefix != facts.prefix:
                facts = ScopeFacts(prefix)
                batch.append(facts)
                if len(batch) > _BATCH:
                    self._add(batch[:-1])
                    batch = [facts]
                    await asyncio.sleep(0)
            before = facts.objects
            facts.add(name, entry)
            self.objects += facts.objects - before
        self._add(batch)

    def add_live(self, prefixes: Iterable[str]) -> None:
        """Note live scopes: prefixes of scopes, or of all scopes of a series."""
        rows = ((tag.rstrip("/"), tenant) for tenant, tag in (prefix.split("/", 1) for prefix in prefixes))
        self._base.executemany("INSERT OR IGNORE INTO live VALUES (?, ?)", rows)

    def shows(self, tenants: Iterable[str]) -> bool:
        """Return True if there is a live scope below one of these prefixes of tenants."""
        ask = "SELECT 1 FROM live WHERE tenant = ? LIMIT 1"
        return any(self._base.execute(ask, (tenant.rstrip("/"),)).fetchone() for tenant in tenants)

    def live(self, start: str) -> Iterator[tuple[str, str]]:
        """Yield the live tags that begin with ``start``, each once and in order, with the tenant's tag."""
        ask = "SELECT tag, tenant FROM live WHERE tag >= ? AND tag < ? ORDER BY tag, tenant"
        yield from self._base.execute(ask, (start, start + "~"))

    def newest(self, prefix: str) -> datetime | None:
        """Return the time of the last write to a scope; None if it is empty or not in the index."""
        ask = "SELECT newest FROM scopes WHERE prefix = ?"
        row = self._base.execute(ask, (prefix,)).fetchone()
        return _time_or_none(row[0]) if row else None

    def has(self, tenant: str) -> bool:
        """Return True if there is a scope below this prefix of a tenant."""
        ask = "SELECT 1 FROM scopes WHERE prefix > ? AND prefix < ? LIMIT 1"
        return self._base.execute(ask, (tenant, tenant + "~")).fetchone() is not None

    async def marked(self) -> AsyncIterator[tuple[str, dict[str, datetime]]]:
        """Yield all scopes with marks, and the names of those, at most one more than :data:`MOST_MARKS`."""
        after = ""
        page = "SELECT DISTINCT prefix FROM names WHERE prefix > ? ORDER BY prefix LIMIT ?"
        one = "SELECT name, modified FROM names WHERE prefix = ? ORDER BY name DESC LIMIT ?"
        while prefixes := self._base.execute(page, (after, _PAGE)).fetchall():
            for (prefix,) in prefixes:
                found = self._base.execute(one, (prefix, MOST_MARKS + 1)).fetchall()
                yield prefix, {name: _time(modified) for name, modified in found}
            after = prefixes[-1][0]
            await asyncio.sleep(0)

    def set_marks(self, prefix: str, marks: ScopeMarks) -> None:
        """Set the facts from the marks that :meth:`marked` yielded for a scope."""
        row = (
            prefix,
            marks.mark,
            _number(marks.due),
            _number(marks.until),
            marks.owner,
            marks.lease,
            _number(marks.leased),
            _number(marks.deletes_until),
            marks.keep,
            marks.highest,
            marks.forged,
            marks.crowded,
            marks.unread,
        )
        values = ", ".join("?" * len(row))
        self._base.execute(f"INSERT OR REPLACE INTO marks VALUES ({values})", row)  # noqa: S608 - question marks

    async def scopes(self) -> AsyncIterator[tuple[ScopeFacts, bool]]:
        """Yield all scopes by prefix, and True for live ones. The names of marks are left out."""
        after = ""
        while page := self._base.execute(_SCOPES, (after, _PAGE)).fetchall():
            for row in page:
                yield _facts(row), bool(row[_FIGURES])
            after = page[-1][0]
            await asyncio.sleep(0)

    def _add(self, batch: Iterable[ScopeFacts]) -> None:
        self._base.executemany(
            _ADD,
            (
                (
                    facts.prefix,
                    facts.objects,
                    facts.size,
                    _number(facts.oldest),
                    _number(facts.newest),
                    facts.records,
                )
                for facts in batch
            ),
        )
        self._base.executemany(
            "INSERT OR REPLACE INTO names VALUES (?, ?, ?)",
            (
                (facts.prefix, name, _number(modified))
                for facts in batch
                for name, modified in facts.names.items()
            ),
        )


def _facts(row: tuple[object, ...]) -> ScopeFacts:
    prefix, objects, size, oldest, newest, records = row[:_FIGURES]
    assert isinstance(prefix, str)
    assert isinstance(objects, int)
    assert isinstance(size, int)
    assert isinstance(records, int)
    return ScopeFacts(
        prefix,
        objects,
        size,
        _time_or_none(oldest),
        _time_or_none(newest),
        records,
        marks=_marks(row[_FIGURES + 1 :]),
    )


def _marks(row: tuple[object, ...]) -> ScopeMarks:
    """Return the marks in a row, which begins with the prefix, or with None if there are no marks."""
    prefix, mark, due, until, owner, lease, leased, deletes_until, keep, highest, forged, crowded, unread = (
        row
    )
    if prefix is None:
        return ScopeMarks()
    assert mark is None or isinstance(mark, bytes)
    assert owner is None or isinstance(owner, bytes)
    assert lease is None or isinstance(lease, int)
    assert isinstance(keep, int)
    assert isinstance(highest, int)
    assert isinstance(forged, int)
    return ScopeMarks(
        mark,
        _time_or_none(due),
        _time_or_none(until),
        owner,
        lease,
        _time_or_none(leased),
        _time_or_none(deletes_until),
        keep,
        highest,
        forged,
        bool(crowded),
        bool(unread),
    )


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _number(time: datetime | None) -> int | None:
    """Return microseconds since 1970, exact: a float would be rounded to another microsecond."""
    return None if time is None else (time - _EPOCH) // timedelta(microseconds=1)


def _time_or_none(number: object) -> datetime | None:
    return None if number is None else _time(number)


def _time(number: object) -> datetime:
    assert isinstance(number, int)
    return _EPOCH + timedelta(microseconds=number)
