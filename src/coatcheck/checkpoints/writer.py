"""The writer of one run's checkpoints: it finds the place of each, and detects other writers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from coatcheck.chain import Chain
from coatcheck.checkpoints.records import MOST_FORKS, Checkpoint, CheckpointRecords, Segment
from coatcheck.errors import CheckpointConflict, FormatError, IntegrityError, LimitExceeded
from coatcheck.format.reference import Reference
from coatcheck.format.states import kind_of, size_of
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope
from coatcheck.storage.records import LAST_BRANCH, Position

_NAME_LENGTH: Final = 1000
"""Characters of a run's name that its records store."""


@dataclass(frozen=True, slots=True)
class Head:
    """The state from which a writer continues: the last one that it restored or saved."""

    object_id: bytes
    checkpoint: Checkpoint | None = None
    """None if a reference was restored, which does not contain its step."""
    tip: Position | None = None
    """The newest checkpoint at that time; None if unknown."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a new checkpoint."""

    position: Position
    forks: tuple[Position, ...]


class CheckpointWriter:
    """A writer of one run's states. For one call at a time.

    It writes only if the newest record is still the one that it saw last, and creates records by create-if-absent. So the
    second of two writers detects the first, without a lock.

    Args:
        chain: The chain that encodes the states.
        scope: The run's scope.
        records: The run's records.
    """

    def __init__(self, chain: Chain, scope: Scope, records: CheckpointRecords) -> None:
        self._chain = chain
        self._scope = scope
        self._records = records
        self._ledger = records.ledger
        self.head: Head | None = None
        """The state from which this writer continues; None if it has restored and saved nothing."""
        # Saves with unknown outcome: their positions and objects.
        self._tried: set[tuple[Position, bytes]] = set()

    async def begin_with(self, payload: bytes, step: int) -> None:
        """Save the first state of a run.

        Args:
            payload: The state, from :func:`~coatcheck.format.states.pack`.
            step: The number of the step.

        Raises:
            CheckpointConflict: The run already has another state.
            CoatcheckError: As for :meth:`save`.
        """
        tip = await self._records.tip()
        there = await self._records.at(tip) if tip and tip == Position(0, step) else None
        reference = await self._chain.put(payload, self._scope)
        if tip is not None and (there is None or there.reference.object_id != reference.object_id):
            raise CheckpointConflict(
                f"the run already has checkpoints, the newest at step {tip.step}",
                "Fork into a run without checkpoints.",
                reference=str(reference),
            )
        await self.save(payload, step)

    async def save(self, payload: bytes, step: int) -> Reference:
        """Make a state and its record durable; see :meth:`Checkpoints.save`.

        Args:
            payload: The state, from :func:`~coatcheck.format.states.pack`.
            step: The number of the step.
        """
        if self.head is None or self.head.checkpoint is None:
            tip = await self._records.tip()
            await self._ledger.begin(tip)
            reference = await self._chain.put(payload, self._scope)
        else:
            reference, tip = await self._put_and_look(payload)
        while True:
            place = await self._place(step, reference, tip)
            if isinstance(place, Checkpoint):
                if await self._ledger.look_for_sweep():
                    tip = await self._records.tip()
                    continue
                saved = place
                break
            checkpoint = Checkpoint(
                branch=place.position.branch,
                step=step,
                saved_at=datetime.now(UTC),
                size=size_of(payload),
                kind=kind_of(payload),
                reference=reference,
                forks=place.forks,
                run=str(self._scope.run)[:_NAME_LENGTH],
            )
            earlier = self._tried.copy()
            self._tried.add((place.position, reference.object_id))
            if await self._ledger.create(place.position, checkpoint.model_dump_json().encode()):
                saved = checkpoint
                break
            there = await self._there(place.position)
            if there is not None and there.reference.object_id == reference.object_id:
                saved = there
                break
            if there is None or (place.position, there.reference.object_id) not in earlier:
                self._conflict(place.position, there, reference)
            # An earlier attempt of this writer arrived after all.
            tip = place.position
        newest = max(tip or saved.position, saved.position)
        self._tried.clear()
        self.head = Head(reference.object_id, saved, newest)
        self._ledger.reached(newest)
        return reference

    async def _put_and_look(self, payload: bytes) -> tuple[Reference, Position | None]:
        both: list[Any] = await all_at_once((self._chain.put(payload, self._scope), self._records.tip()))
        return both[0], both[1]

    async def _place(self, step: int, reference: Reference, tip: Position | None) -> _Place | Checkpoint:
        """Return the place for a state of a step, or its checkpoint if that exists."""
        head = self.head
        if tip is None:
            if head is not None:
                self._conflict(None, None, reference)
            return _Place(Position(0, step), ())
        if head is None:
            return await self._place_anew(step, reference, tip, await self._records.forks(tip))
        if head.checkpoint is None:
            return await self._place_after_reference(step, reference, tip, head.object_id)
        at = head.checkpoint
        if head.tip is not None and head.tip != tip:
            there = await self._there(tip)
            if there is None or (tip, there.reference.object_id) not in self._tried:
                self._conflict(tip, there, reference)
            # An earlier attempt of this writer was recorded, but the store's answer was lost.
            at = there
        if at.position == tip:
            if step > tip.step:
                return _Place(Position(tip.branch, step), at.forks)
            if step == tip.step and at.reference.object_id == reference.object_id:
                return at
        return self._branch(step, tip, await self._records.before(at.position, at.forks, step))

    async def _place_anew(
        self, step: int, reference: Reference, tip: Position, forks: tuple[Position, ...]
    ) -> _Place | Checkpoint:
        """Return the place for a writer that restored nothing."""
        if step > tip.step:
            return _Place(Position(tip.branch, step), forks)
        there = await self._there_on_line(tip, forks, step)
        if there is not None and there.reference.object_id == reference.object_id:
            return there
        return self._branch(step, tip, await self._records.before(tip, forks, step))

    async def _place_after_reference(
        self, step: int, reference: Reference, tip: Position, restored: bytes
    ) -> _Place | Checkpoint:
        """Return the place for a writer that restored a reference: that of the step before, or of the step itself."""
        forks = await self._records.forks(tip)
        there = await self._there_on_line(tip, forks, step) if step <= tip.step else None
        if there is not None and there.reference.object_id == reference.object_id:
            return there
        part = await self._records.before(tip, forks, step)
        if there is not None and there.reference.object_id == restored:
            return self._branch(step, tip, part)
        parent = await self._there(Position(part.branch, part.top)) if part else None
        if part is None or parent is None or parent.reference.object_id != restored:
            raise CheckpointConflict(
                f"the state restored by its reference is not the one before step {step} in this run",
                "Another writer may have saved meanwhile: call restore() and continue from there. To continue from an"
                " earlier state, call restore(step=...).",
                reference=str(reference),
            )
        if parent.position == tip:
            return _Place(Position(tip.branch, step), forks)
        return self._branch(step, tip, part)

    def _branch(self, step: int, tip: Position, part: Segment | None) -> _Place:
        """Return the first place of a new branch that continues from the end of ``part``."""
        if tip.branch == LAST_BRANCH:
            raise LimitExceeded("the run has a million branches", "Continue in a new run: fork(run=...).")
        forks = (Position(part.branch, part.top), *part.forks) if part else ()
        return _Place(Position(tip.branch + 1, step), forks[:MOST_FORKS])

    async def _there(self, position: Position) -> Checkpoint | None:
        """Return the checkpoint at a position; None if there is none or it cannot be read."""
        try:
            return await self._records.at(position)
        except (FormatError, IntegrityError, LimitExceeded):
            return None

    async def _there_on_line(
        self, tip: Position, forks: tuple[Position, ...], step: int
    ) -> Checkpoint | None:
        try:
            return await self._records.on_line(tip, forks, step)
        except (FormatError, IntegrityError, LimitExceeded):
            return None

    def _conflict(self, tip: Position | None, there: Checkpoint | None, reference: Reference) -> NoReturn:
        if tip is None:
            what = f"the checkpoints of run {str(self._scope.run)[:200]!r} were deleted since this writer last looked"
            todo = "Stop this writer, or restart it to start the run again."
        else:
            when = f" at {there.saved_at:%Y-%m-%d %H:%M:%S} UTC" if there else ""
            what = (
                f"another writer saved step {tip.step} (branch {tip.branch}) of run {str(self._scope.run)[:200]!r}{when},"
                " since this writer last looked"
            )
            todo = (
                "Stop one of the two writers. In the other one call restore() and save from there; or start a branch:"
                " call restore(step=...) with an earlier step."
            )
        raise CheckpointConflict(what, todo, reference=str(reference))
