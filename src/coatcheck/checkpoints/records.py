"""Records of a run's checkpoints: a line of steps, and the branches that left it."""

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
from coatcheck.storage.records import LAST_BRANCH, LAST_STEP, Entry, Ledger, Position, say_once

MOST_FORKS: Final = 64
"""Forks that a record lists. The one at the last of them lists more."""
_PAGE: Final = 1000
_AT_ONCE: Final = 32
"""Records that are fetched at the same time: the wait for a place counts as well, and each has a deadline."""
_MOST_DAMAGED: Final = 32
"""Records that do not open, one behind the other, before that is no accident any more."""


def _reference(value: object) -> object:
    return Reference.from_text(value) if isinstance(value, str) else value


class Checkpoint(BaseModel):
    """One saved state of a run: its step, when it was saved, its size, and the reference that brings it back.

    ``model_dump_json()`` gives it with the reference as text.
    """

    # What a later release adds to the record must not keep this one from reading it.
    model_config = ConfigDict(frozen=True, extra="ignore")

    branch: Annotated[int, Field(ge=0, le=LAST_BRANCH)] = 0
    """0 for the first; each time the run goes on from an earlier step, it does so as the next branch."""
    step: Annotated[int, Field(ge=0, le=LAST_STEP)]
    saved_at: AwareDatetime
    """By the clock of the process that saved it, UTC."""
    size: NonNegativeInt
    """Bytes of the state: as they were given, or as compact JSON."""
    kind: Kind
    """``json`` for JSON values, models and dataclasses."""
    reference: Annotated[Reference, BeforeValidator(_reference), PlainSerializer(Reference.to_text)]
    forks: Annotated[tuple[Position, ...], Field(max_length=MOST_FORKS)] = ()
    """Branch and step that this branch goes on from, then what that one's branch goes on from, and so on."""
    run: str = ""
    """The run's name, its first 1,000 characters."""

    _tip: Position | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.position, self.reference.object_id))

    @property
    def position(self) -> Position:
        """The branch and the step: the greater of two was saved later."""
        return Position(self.branch, self.step)

    @property
    def tip(self) -> Position | None:
        """The position of the newest checkpoint when this one was looked up; None if that was not looked at."""
        return self._tip

    def seen_with(self, tip: Position | None) -> Self:
        """Return the same checkpoint, knowing what was the newest when it was looked up."""
        seen = self.model_copy()
        seen._tip = tip  # noqa: SLF001 - its own
        return seen

    @classmethod
    def from_record(cls, entry: Entry, record: bytes) -> Self:
        """Return the checkpoint that a record says.

        Raises:
            FormatError: It is none of a version known here.
        """
        return cls.from_bytes(record, entry.position, entry.stored.key)

    @classmethod
    def from_bytes(cls, record: bytes, position: Position, name: str = "") -> Self:
        """Return the checkpoint at a position by its record; ``name`` is for the error.

        Raises:
            FormatError: It is none of a version known here.
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
    """A part of a line: the steps of one branch, from above the fork where that begins."""

    branch: int
    top: int
    """The highest step that belongs to the line."""
    forks: tuple[Position, ...]
    """The positions that the branch goes on from, as :attr:`Checkpoint.forks`."""

    @property
    def floor(self) -> int:
        """The step below the lowest."""
        return self.forks[0].step if self.forks else -1


class CheckpointRecords:
    """The records of one run. Safe to use from several tasks, threads and event loops; keeps nothing in memory.

    A record that does not open, or that nobody with the key named, is logged once and passed over.

    Args:
        ledger: The run's.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def tip(self) -> Position | None:
        """Return the position of the newest record by its name; None if there is none. One listing.

        Raises:
            StoreError: The store cannot or will not be listed.
        """
        newest = await self.ledger.newest(1)
        return newest[0].position if newest else None

    async def latest(self, branch: int | None = None) -> Checkpoint | None:
        """Return the newest checkpoint whose record can be read, of one branch if that is given.

        Raises:
            IntegrityError: There are records, and none of the newest 32 can be read.
            StoreError: The store cannot or will not be listed, or give a record.
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
                f"none of the newest {len(entries)} records can be read; the first: {found.error.what}",
                "Find out what damaged them. coatcheck checkpoints list --all shows whether older ones are good.",
                entries[0].stored.key,
            )
        return found.seen_with(tip if branch is None else None)

    async def at(self, position: Position) -> Checkpoint | None:
        """Return the checkpoint at a position; None if there is none. One request for each store and key.

        Raises:
            CoatcheckError: As :meth:`Ledger.find`.
        """
        try:
            records = await self.ledger.find(position)
        except PayloadNotFound:
            return None
        found = [Checkpoint.from_bytes(record, position, key) for key, record in records]
        return max(found, key=lambda checkpoint: checkpoint.saved_at)

    async def forks(self, position: Position) -> tuple[Position, ...]:
        """Return where the branch of a record goes on from."""
        # The first branch goes on from nothing, and needs no request.
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
        """The parts of the line that ends at a position, the last first.

        Args:
            end: Where it ends.
            forks: Of the branch that it ends in.
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
        """Return the checkpoint of a step on the line that ends at a position; None if there is none."""
        async for part in self.line(end, forks):
            if step > part.floor:
                return await self.at(Position(part.branch, step)) if step <= part.top else None
        return None

    async def before(self, end: Position, forks: tuple[Position, ...], step: int) -> "Segment | None":
        """Return what a line comes to below a step: its end is the highest step below that; None if there is none."""
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
        """Every checkpoint of the run, the newest first, a page at a time; see :meth:`Checkpoints.listing`."""
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

    async def _read(self, entry: Entry) -> "Checkpoint | DamagedCheckpoint":
        try:
            return Checkpoint.from_record(entry, await self.ledger.get(entry))
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound) as error:
            branch, step = entry.position
            say_once(entry.stored.key, f"step {step} of branch {branch}: {error.what}")
            return DamagedCheckpoint(*entry.position, entry.stored.key, error)
