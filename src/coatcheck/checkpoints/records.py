"""Records of a run's checkpoints: a line of steps, and its branches."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
)

from coatcheck.errors import CoatcheckError, FormatError, IntegrityError, LimitExceeded, PayloadNotFound
from coatcheck.format.reference import Reference
from coatcheck.format.states import Kind
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.records import LAST_BRANCH, LAST_STEP, Ledger, Position, RecordEntry, say_once

MOST_FORKS: Final = 64
"""Most forks that a record lists. The record at the last of them lists more."""
_PAGE: Final = 1000
_AT_ONCE: Final = 32
"""Records fetched concurrently. Few, because waiting for a slot counts towards each one's deadline."""
_MOST_DAMAGED: Final = 32
"""Unreadable records in a row after which it is an error."""


def _reference(value: object) -> object:
    return Reference.from_text(value) if isinstance(value, str) else value


class Checkpoint(BaseModel):
    """One saved state of a run: its step, time, size, and the reference that restores it.

    ``model_dump_json()`` writes the reference as text.
    """

    # This release must read records with fields that a later one adds.
    model_config = ConfigDict(frozen=True, extra="ignore")

    branch: Annotated[int, Field(ge=0, le=LAST_BRANCH)] = 0
    """0 for the first; each time the run continues from an earlier step, that is the next branch."""
    step: Annotated[int, Field(ge=0, le=LAST_STEP)]
    saved_at: AwareDatetime
    """UTC time by the clock of the process that saved it."""
    size: NonNegativeInt
    """Bytes of the state, as given or as compact JSON."""
    kind: Kind
    """``json`` for JSON values, models and dataclasses."""
    reference: Annotated[Reference, BeforeValidator(_reference), PlainSerializer(Reference.to_text)]
    forks: Annotated[tuple[Position, ...], Field(max_length=MOST_FORKS)] = ()
    """Branch and step from which this branch continues, then those from which that branch continues, and so on."""
    run: str = ""
    """The first 1,000 characters of the run's name."""

    _tip: Position | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.position, self.reference.object_id))

    @property
    def position(self) -> Position:
        """The branch and the step. The greater of two positions was saved later."""
        return Position(self.branch, self.step)

    @property
    def tip(self) -> Position | None:
        """The position of the newest checkpoint when this one was looked up; None if unknown."""
        return self._tip

    def seen_with(self, tip: Position | None) -> Self:
        """Return the same checkpoint with :attr:`tip` set."""
        seen = self.model_copy()
        seen._tip = tip  # noqa: SLF001 - its own
        return seen

    @classmethod
    def from_record(cls, entry: RecordEntry, record: bytes) -> Self:
        """Parse a record.

        Args:
            entry: The record's entry in the listing.
            record: The record's bytes, decrypted.

        Raises:
            FormatError: The record is malformed or of an unknown version.
        """
        return cls.from_bytes(record, entry.position, entry.stored.key)

    @classmethod
    def from_bytes(cls, record: bytes, position: Position, name: str = "") -> Self:
        """Parse a record.

        Args:
            record: The record's bytes, decrypted.
            position: The position in the record's name; that in the record must be equal.
            name: The record's key, for the error.

        Raises:
            FormatError: The record is malformed or of an unknown version.
        """
        try:
            checkpoint = cls.model_validate_json(record)
        except (ValidationError, FormatError):
            checkpoint = None
        if checkpoint is None or checkpoint.position != position:
            raise FormatError(
                "the record of a checkpoint is malformed", "Upgrade coatcheck, or save the step again.", name
            )
        return checkpoint


@dataclass(frozen=True, slots=True)
class DamagedCheckpoint:
    """A checkpoint whose record cannot be read."""

    branch: int
    step: int
    record: str
    """The record's key in the store."""
    error: CoatcheckError


class Segment(NamedTuple):
    """A part of a line: the steps of one branch above its fork."""

    branch: int
    top: int
    """The highest step that belongs to the line."""
    forks: tuple[Position, ...]
    """The positions from which the branch continues, as in :attr:`Checkpoint.forks`."""

    @property
    def floor(self) -> int:
        """The step below the lowest of the segment."""
        return self.forks[0].step if self.forks else -1


class CheckpointRecords:
    """The records of one run. Safe for tasks, threads and event loops; caches nothing.

    A record that cannot be decrypted, or whose name is forged, is logged once and skipped.

    Args:
        ledger: The run's.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def tip(self) -> Position | None:
        """Return the position of the newest record by name; None if there is none. Costs one listing.

        Raises:
            StoreError: The store fails or refuses to list.
        """
        newest = await self.ledger.newest(1)
        return newest[0].position if newest else None

    async def latest(self, branch: int | None = None) -> Checkpoint | None:
        """Return the newest checkpoint whose record can be read; only of ``branch`` if that is given.

        Raises:
            IntegrityError: There are records, and none of the newest 32 can be read.
            StoreError: The store fails or refuses to list or read.
        """
        before = None if branch is None or branch >= LAST_BRANCH else Position(branch + 1, 0)
        entries = await self.ledger.newest(1, before)
        if not entries or (branch is not None and entries[0].position.branch != branch):
            return None
        tip = entries[0].position
        found = await self._read(entries[0])
        if isinstance(found, DamagedCheckpoint):
            more = await self.ledger.newest(_MOST_DAMAGED - 1, tip)
            entries += [entry for entry in more if branch in (None, entry.position.branch)]
            for entry in entries[1:]:
                found = await self._read(entry)
                if isinstance(found, Checkpoint):
                    break
        if isinstance(found, DamagedCheckpoint):
            raise IntegrityError(
                f"none of the newest {len(entries)} records can be read; the newest: {found.error.what}",
                "Find out what damaged them. coatcheck checkpoints list --all shows whether older ones are intact.",
                entries[0].stored.key,
            )
        return found.seen_with(tip if branch is None else None)

    async def at(self, position: Position) -> Checkpoint | None:
        """Return the checkpoint at a position; None if there is none. Costs one request for each store and key.

        Raises:
            CoatcheckError: As for :meth:`Ledger.find`.
        """
        try:
            records = await self.ledger.find(position)
        except PayloadNotFound:
            return None
        found = [Checkpoint.from_bytes(record, position, key) for key, record in records]
        return max(found, key=lambda checkpoint: checkpoint.saved_at)

    async def forks(self, position: Position) -> tuple[Position, ...]:
        """Return the forks of the branch of a record."""
        # The first branch has no forks, and needs no request.
        if position.branch == 0:
            return ()
        with suppress(FormatError, IntegrityError, LimitExceeded):
            found = await self.at(position)
            if found is not None:
                return found.forks
        with suppress(FormatError, IntegrityError, LimitExceeded):
            found = await self.latest(position.branch)
            if found is not None:
                return found.forks
        return ()

    async def line(self, end: Position, forks: tuple[Position, ...]) -> AsyncIterator[Segment]:
        """Yield the segments of the line that ends at a position, the last first.

        Args:
            end: The end of the line.
            forks: The forks of its last branch.
        """
        while True:
            yield Segment(end.branch, end.step, forks)
            if not forks:
                return
            end, *left = forks
            forks = tuple(left)
            if not forks and end.branch:
                forks = await self.forks(end)

    async def on_line(self, end: Position, forks: tuple[Position, ...], step: int) -> Checkpoint | None:
        """Return the checkpoint of a step on a line; None if there is none.

        Args:
            end: The end of the line.
            forks: The forks of its last branch.
            step: The step.
        """
        async for part in self.line(end, forks):
            if step > part.floor:
                return await self.at(Position(part.branch, step)) if step <= part.top else None
        return None

    async def before(self, end: Position, forks: tuple[Position, ...], step: int) -> "Segment | None":
        """Return the last segment of a line below a step, ending at the highest step below it; None if there is none.

        Args:
            end: The end of the line.
            forks: The forks of its last branch.
            step: The step.
        """
        async for part in self.line(end, forks):
            if part.top < step:
                return part
            if step - 1 > part.floor:
                entries = await self.ledger.newest(1, Position(part.branch, step))
                if entries and entries[0].position.branch == part.branch:
                    below = entries[0].position.step
                    if below > part.floor:
                        return part._replace(top=below)
        return None

    async def listing(
        self, limit: int | None, before: Position | None
    ) -> AsyncIterator["Checkpoint | DamagedCheckpoint"]:
        """Yield all checkpoints of the run, the newest first, page by page; see :meth:`Checkpoints.listing`."""
        tip = None
        while limit is None or limit > 0:
            count = _PAGE if limit is None else min(limit, _PAGE)
            entries = await self.ledger.newest(count, before)
            tip = tip or (entries[0].position if entries and before is None else None)
            for start in range(0, len(entries), _AT_ONCE):
                some = entries[start : start + _AT_ONCE]
                for found in await all_at_once(map(self._read, some)):
                    yield found.seen_with(tip) if isinstance(found, Checkpoint) else found
            if len(entries) < count:
                return
            before = entries[-1].position
            limit = None if limit is None else limit - count

    async def _read(self, entry: RecordEntry) -> "Checkpoint | DamagedCheckpoint":
        try:
            return Checkpoint.from_record(entry, await self.ledger.get(entry))
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound) as error:
            branch, step = entry.position
            say_once(entry.stored.key, f"step {step} of branch {branch}: {error.what}")
            return DamagedCheckpoint(*entry.position, entry.stored.key, error)
