"""What a listing said of each scope, on disk: memory does not grow with the number of objects, scopes or runs."""

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from coatcheck.contracts import TENANT_SCOPE_TAG, StoredObject
from coatcheck.storage.markers import (
    ALIVE,
    TOMBSTONE,
    claim_of,
    is_record,
    is_sweeps_own,
    kept_while_deleting,
    split,
)

_BATCH: Final = 5000
"""Scopes that are kept in memory before they are written down."""
_PAGE: Final = 500
_RUN_TAG_AT: Final = 2 * len(TENANT_SCOPE_TAG) + 2
"""Where it begins in a prefix, as SQL counts: behind the tenant's tag and a slash."""
_TENANT_SCOPE: Final = f"/{TENANT_SCOPE_TAG.hex()}/"

# Times are microseconds since 1970. A scope may come in several parts, since listings have no promised order.
_MAKE: Final = """
    CREATE TABLE scopes (
        prefix TEXT PRIMARY KEY, objects INTEGER, size INTEGER, oldest INTEGER, newest INTEGER,
        records INTEGER, tombstone INTEGER, claim INTEGER, claimed INTEGER, deleting INTEGER, keep INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE live (prefix TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_ADD: Final = """
    INSERT INTO scopes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (prefix) DO UPDATE SET
        objects = objects + excluded.objects, size = size + excluded.size, records = records + excluded.records,
        oldest = min(ifnull(oldest, excluded.oldest), ifnull(excluded.oldest, oldest)),
        newest = max(ifnull(newest, excluded.newest), ifnull(excluded.newest, newest)),
        tombstone = ifnull(excluded.tombstone, tombstone),
        claimed = CASE WHEN ifnull(excluded.claim, -1) > ifnull(claim, -1) THEN excluded.claimed ELSE claimed END,
        claim = max(ifnull(claim, excluded.claim), ifnull(excluded.claim, claim)),
        deleting = ifnull(excluded.deleting, deleting), keep = max(keep, excluded.keep)
"""


@dataclass(slots=True)
class ScopeFacts:
    """What a listing said of one scope. Times by the store's clock."""

    prefix: str
    objects: int = 0
    """Records among them; not what a sweep wrote."""
    size: int = 0
    """Bytes of those."""
    oldest: datetime | None = None
    newest: datetime | None = None
    """The last sign of life, a writer's own mark among them; None where there is none left."""
    records: int = 0
    tombstone: datetime | None = None
    claim: int | None = None
    """The highest."""
    claimed: datetime | None = None
    """When that was made."""
    deleting: datetime | None = None
    """When it was decided that what is old goes."""
    keep: int = 0
    """How many of the latest checkpoints keep what they need, while that is done."""

    def add(self, name: str, entry: StoredObject) -> None:
        """Count an object of the scope, which is called ``name`` there."""
        number, keep = claim_of(name), kept_while_deleting(name)
        if name == TOMBSTONE:
            self.tombstone = entry.modified
        elif keep is not None:
            self.deleting, self.keep = entry.modified, max(self.keep, keep)
        elif number is not None and (self.claim is None or number > self.claim):
            self.claim, self.claimed = number, entry.modified
        if is_sweeps_own(name):
            return
        self.newest = max(self.newest or entry.modified, entry.modified)
        if name != ALIVE:
            self.oldest = min(self.oldest or entry.modified, entry.modified)
            self.objects += 1
            self.size += entry.size
            self.records += is_record(name)


class Index:
    """Scopes and live scopes in a temporary database, which ends with it. A context manager; for one task.

    It holds tags and figures: no name of a tenant or a run.
    """

    def __init__(self) -> None:
        # An empty name is a file that SQLite deletes when it is closed.
        self._base = sqlite3.connect("")
        self._base.executescript(_MAKE)
        self.objects = 0
        """Listed so far, in all scopes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._base.close()

    async def list(self, entries: AsyncIterator[StoredObject]) -> None:
        """Take in a listing. What is no scope's, and the tenant's own scope, is left out."""
        batch: list[ScopeFacts] = []
        facts = ScopeFacts("")
        async for entry in entries:
            place = split(entry.key)
            if place is None or place[0].endswith(_TENANT_SCOPE):
                continue
            prefix, name = place
            if prefix != facts.prefix:
                facts = ScopeFacts(prefix)
                batch.append(facts)
                if len(batch) > _BATCH:
                    self._add(batch[:-1])
                    batch = [facts]
            before = facts.objects
            facts.add(name, entry)
            self.objects += facts.objects - before
        self._add(batch)

    def add_live(self, prefixes: Iterable[str]) -> None:
        """These are needed."""
        self._base.executemany("INSERT OR IGNORE INTO live VALUES (?)", ((prefix,) for prefix in prefixes))

    def live(self) -> Iterator[str]:
        """What is needed, each once, by the tag of the scope: the second one of a prefix."""
        by_tag = "SELECT prefix FROM live ORDER BY substr(prefix, ?)"
        for (prefix,) in self._base.execute(by_tag, (_RUN_TAG_AT,)):
            yield prefix

    def scopes(self) -> Iterator[tuple[ScopeFacts, bool]]:
        """Every scope, and whether it is needed, by prefix."""
        after = ""
        while True:
            page = self._base.execute(
                "SELECT scopes.*, live.prefix IS NOT NULL FROM scopes LEFT JOIN live USING (prefix) "
                "WHERE scopes.prefix > ? ORDER BY scopes.prefix LIMIT ?",
                (after, _PAGE),
            ).fetchall()
            for row in page:
                yield _facts(row), bool(row[-1])
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def _add(self, batch: Iterable[ScopeFacts]) -> None:
        self._base.executemany(_ADD, map(_row, batch))


def _row(facts: ScopeFacts) -> tuple[str | int | None, ...]:
    return (
        facts.prefix,
        facts.objects,
        facts.size,
        _number(facts.oldest),
        _number(facts.newest),
        facts.records,
        _number(facts.tombstone),
        facts.claim,
        _number(facts.claimed),
        _number(facts.deleting),
        facts.keep,
    )


def _facts(row: tuple[str | int | None, ...]) -> ScopeFacts:
    prefix, objects, size, oldest, newest, records, tombstone, claim, claimed, deleting, keep, _ = row
    assert isinstance(prefix, str)
    assert isinstance(objects, int)
    assert isinstance(size, int)
    assert isinstance(records, int)
    assert isinstance(keep, int)
    assert claim is None or isinstance(claim, int)
    return ScopeFacts(
        prefix,
        objects,
        size,
        _time(oldest),
        _time(newest),
        records,
        _time(tombstone),
        claim,
        _time(claimed),
        _time(deleting),
        keep,
    )


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _number(time: datetime | None) -> int | None:
    """Exactly: a float would round to another microsecond."""
    if time is None:
        return None
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _time(number: object) -> datetime | None:
    if number is None:
        return None
    assert isinstance(number, int)
    return datetime.fromtimestamp(number // 1_000_000, UTC).replace(microsecond=number % 1_000_000)
