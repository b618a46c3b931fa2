"""Checkpoints: the states of an agent's run, saved step by step and restored after a crash."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar, overload

from coatcheck.chain import Chain
from coatcheck.checkpoints.records import Checkpoint, CheckpointRecords, DamagedCheckpoint
from coatcheck.checkpoints.removal import Removal
from coatcheck.checkpoints.turns import Turns
from coatcheck.checkpoints.writer import CheckpointWriter, Head
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    PayloadNotFound,
)
from coatcheck.format.reference import Reference
from coatcheck.format.states import pack, unpack
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, off_loop
from coatcheck.scope import Scope
from coatcheck.storage.records import LAST_BRANCH, LAST_STEP, Position
from coatcheck.sync import SyncFace, blocking, blocking_iterator

__all__ = ["Checkpoint", "Checkpoints", "DamagedCheckpoint", "SyncCheckpoints"]

_T = TypeVar("_T")


class Checkpoints:
    """The checkpoints of one run. All states share a scope, so that a state is stored as a delta where that saves space.

    An object of this class is one writer: it remembers what it restored or saved last. It may be called from any number of
    tasks, threads and event loops; its saves happen one after the other. Two writers of one run detect each other. Any
    number of objects and processes may read. The caller closes the chain.

    A run is a line of steps. Restoring an earlier step and saving again starts a branch: the new steps hide the abandoned
    ones, which stay listed until they are deleted.

    Args:
        chain: The chain that encodes the states; it must have an :class:`Offload`.
        run: The name of the run in the engine or the application. Not empty.
        tenant: The owner of the run. Not empty.

    Raises:
        ConfigError: The chain has no :class:`Offload`, or a name is empty.
    """

    def __init__(self, chain: Chain, *, run: str, tenant: str = "default") -> None:
        self._chain = chain
        self._tenant = tenant
        self._scope = Scope(tenant, run, engine="checkpoints")
        self._ledger = chain.ledger(self._scope)
        self._records = CheckpointRecords(self._ledger)
        self._turns = Turns()
        self._writer = CheckpointWriter(chain, self._scope, self._records)

    @property
    def sync(self) -> "SyncCheckpoints":
        """The same writer for code that cannot await."""
        return SyncCheckpoints(self)

    async def save(self, state: object, step: int, *, as_type: Any = None) -> Reference:
        """Save the state of a step. It is durable on return: it survives the process and the machine.

        The state is durable before its record, so that every checkpoint has its state. A step above the last one continues
        the run. Going back to a step, by restoring an earlier one or by saving one again, starts a branch and replaces
        nothing; all references that were returned stay valid. Saving the same state at the same step, as in a retry, gives
        the same checkpoint.

        A writer that restored nothing continues from the newest checkpoint, or from the one below ``step`` if there are
        later ones.

        Costs three requests, two of them concurrent: write the state, look up the newest record, write the new record. One
        more before the first save of a process, and a few more at the start of a branch.

        Args:
            state: Bytes, JSON values, a pydantic model, a dataclass, or a list or dict of one of those kinds. It is read once,
                on the event loop, before anything is awaited: later changes have no effect. Bytes are not copied unless
                they start with a zero or like JSON.
            step: 0 to 2**63 - 1, counted by the caller; gaps are allowed. Not secret: it is part of a key in the store.
            as_type: The type of the state if its own type is ambiguous, such as a ``TypedDict`` or ``list[A | B]``.

        Returns:
            The reference, to keep in a journal, a queue or a log. ``str()`` turns it into text.

        Raises:
            CheckpointConflict: Another writer has saved to this run since this one last looked, or deleted the run. Nothing
                was recorded; :attr:`CheckpointConflict.reference` leads to the state.
            ConfigError: ``step`` is not a step, the chain is ``decode_only``, or ``as_type`` cannot be saved.
            FormatError: The restored state would differ, such as one with tuples or a model that leaves fields out. The
                message names the field.
            LimitExceeded: The state is larger than the chain's ``max_payload``, or the run has a million branches.
            StoreError: The store fails or refuses to write.
        """
        _check_step(step)
        payload = pack(state, as_type)
        async with self._turns.turn():
            return await self._writer.save(payload, step)

    @overload
    async def restore(
        self,
        what: Checkpoint | Reference | str | None = None,
        *,
        into: None = None,
        step: int | None = None,
        branch: int | None = None,
    ) -> Any: ...

    @overload
    async def restore(
        self,
        what: Checkpoint | Reference | str | None = None,
        *,
        into: type[_T],
        step: int | None = None,
        branch: int | None = None,
    ) -> _T: ...

    async def restore(
        self,
        what: Checkpoint | Reference | str | None = None,
        *,
        into: type[_T] | None = None,
        step: int | None = None,
        branch: int | None = None,
    ) -> Any:
        """Return a state equal to the saved one, or raise. This writer's next save continues from it; see also :meth:`read`.

        Without ``what`` the checkpoint is the one that :meth:`at` returns. Costs one round trip for the state and its bases,
        after at most three requests.

        Args:
            what: A checkpoint; or a reference from :meth:`save`, or its text. A reference does not contain its step: to
                continue from a state that is not the newest, restore it by step or checkpoint.
            into: The model or dataclass that was saved, or another type that fits, such as ``list[Model]``; without it
                JSON is returned as JSON values, and bytes as bytes.
            step: See :meth:`at`.
            branch: See :meth:`at`.

        Raises:
            ConfigError: Both ``what`` and a step or branch are given, or the step is not a step.
            FormatError: The text is not a reference, or the state does not fit ``into``; the message names the field.
            IntegrityError: The reference or its object was changed, or belongs to another run.
            KeyUnavailable: The keyring does not have its key.
            LimitExceeded: The state is larger than the chain's ``max_payload``.
            PayloadNotFound: There is no checkpoint, or an object is missing; the message names it.
            StoreError: The store fails or refuses to read.
        """
        state, reference, checkpoint = await self._open(what, into, step, branch)
        self._writer.head = Head(reference.object_id, checkpoint, checkpoint.tip if checkpoint else None)
        return state

    @overload
    async def read(
        self,
        what: Checkpoint | Reference | str | None = None,
        *,
        into: None = None,
        step: int | None = None,
        branch: int | None = None,
    ) -> Any: ...

    @overload
    async def read(
        self,
        what: Checkpoint | Reference | str | None = None,
        *,
        into: type[_T],
        step: int | None = None,
        branch: int | None = None,
    ) -> _T: ...

    async def read(
        self,
        what: Checkpoint | Reference | str | None = None,
        *,
        into: type[_T] | None = None,
        step: int | None = None,
        branch: int | None = None,
    ) -> Any:
        """Return a state as :meth:`restore` does, without affecting where this writer's next save continues.

        Args:
            what: See :meth:`restore`.
            into: See :meth:`restore`.
            step: See :meth:`at`.
            branch: See :meth:`at`.

        Raises:
            CoatcheckError: As for :meth:`restore`.
        """
        return (await self._open(what, into, step, branch))[0]

    async def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint: the last one of the last branch. None if there is none.

        Costs one listing for each store and key, and one record. A damaged record is logged and skipped.

        Raises:
            IntegrityError: There are records, and none of the newest 32 can be read.
            StoreError: The store fails or refuses to list or read.
        """
        return await self._records.latest()

    async def at(self, step: int | None = None, *, branch: int | None = None) -> Checkpoint:
        """Return the checkpoint of a step, or the latest one. At most three requests for each store and key.

        Args:
            step: A step of the final line of the run: steps of abandoned branches are hidden.
            branch: Look only in this branch.

        Raises:
            ConfigError: The step or the branch is not a valid number.
            PayloadNotFound: There is no such checkpoint.
            CoatcheckError: As for :meth:`latest`; also if the record of this step cannot be read.
        """
        if step is not None:
            _check_step(step)
        if branch is not None and (type(branch) is not int or not 0 <= branch <= LAST_BRANCH):
            raise ConfigError("not a branch number", f"Branches are integers from 0 to {LAST_BRANCH}.")
        found = await self._at(step, branch)
        if found is None:
            what = "the run" if step is None else f"step {step}"
            where = "" if branch is None else f" in branch {branch}"
            raise PayloadNotFound(
                f"{what} has no checkpoint{where}",
                "Check the run and the tenant, and that the keyring has the key it was saved with.",
            )
        return found

    async def history(
        self, *, limit: int | None = None, before: Checkpoint | None = None
    ) -> AsyncIterator[Checkpoint]:
        """Yield all checkpoints, the newest first, including those of abandoned branches. Fetches no state.

        Works page by page: memory does not grow with their number, and each page has its own deadline. Unreadable records
        are logged and skipped; :meth:`listing` includes them.

        Args:
            limit: Most checkpoints to yield.
            before: Yield only checkpoints saved before this one, to continue an earlier call.

        Raises:
            LimitExceeded: The store has more than 10,000 forged names of records.
            StoreError: The store fails or refuses to list or read.
        """
        async for found in self.listing(limit=limit, before=before):
            if isinstance(found, Checkpoint):
                yield found

    def listing(
        self, *, limit: int | None = None, before: Checkpoint | DamagedCheckpoint | None = None
    ) -> AsyncIterator[Checkpoint | DamagedCheckpoint]:
        """Yield as :meth:`history` does, with a :class:`DamagedCheckpoint` for each unreadable record.

        Args:
            limit: Most checkpoints to yield, damaged ones included.
            before: Yield only checkpoints saved before this one, to continue an earlier call.

        Raises:
            LimitExceeded: The store has more than 10,000 forged names of records.
            StoreError: The store fails or refuses to list or read.
        """
        return self._records.listing(limit, None if before is None else Position(before.branch, before.step))

    async def fork(self, run: str, *, step: int | None = None, branch: int | None = None) -> "Checkpoints":
        """Copy a state of this run into a new run; return the new run's checkpoints, ready to continue.

        Runs share no objects, so that each can be deleted by itself. Repeating a fork is harmless.

        Args:
            run: The name of the new run, which must have no checkpoints yet.
            step: See :meth:`at`.
            branch: See :meth:`at`.

        Raises:
            CheckpointConflict: The new run has checkpoints.
            CoatcheckError: As for :meth:`at`, :meth:`restore` and :meth:`save`.
        """
        checkpoint = await self.at(step, branch=branch)
        payload = await self._chain.open_reference(checkpoint.reference, self._scope)
        other = Checkpoints(self._chain, run=run, tenant=self._tenant)
        await other._writer.begin_with(payload, checkpoint.step)
        return other

    async def delete(self, *, before: int | None = None, branch: int | None = None) -> int:
        """Delete checkpoints for good, with the objects that only they need; return their number.

        Records are deleted first: an interrupted call leaves no checkpoint without its state, and a second call finishes the
        work. Old versions in a versioned bucket and copies in replicas are not deleted.

        No other process may save to the run meanwhile: its states could depend on deleted objects. The next save of a process
        that saved within the last hour raises :class:`CheckpointConflict` if everything was deleted; otherwise that process
        must be restarted. For runs that are being written use ``coatcheck sweep checkpoints``.

        Args:
            before: Delete only steps below this one, in all branches.
            branch: Delete only in this branch. Branches that started from it no longer lead through it.

        Raises:
            ConfigError: ``before`` is not a step.
            IntegrityError: The record of a remaining checkpoint cannot be read, so the objects that it needs are unknown.
            StoreError: The store fails or refuses to list or delete; some checkpoints may be deleted.
        """
        if before is not None:
            _check_step(before)
        async with self._turns.turn():
            removal = Removal(self._records)
            everything = before is None and branch is None
            try:
                count = await (removal.all() if everything else removal.some(before, branch))
            finally:
                self._ledger.forget()
            head = self._writer.head
            if everything or (head is not None and head.tip in removal.gone):
                # There is nothing to continue from, and it is not a conflict.
                self._writer.head = None
            return count

    async def _open(
        self,
        what: Checkpoint | Reference | str | None,
        into: type[_T] | None,
        step: int | None,
        branch: int | None,
    ) -> tuple[Any, Reference, Checkpoint | None]:
        if what is None:
            what = await self.at(step, branch=branch)
        elif step is not None or branch is not None:
            raise ConfigError(
                "both a reference or checkpoint and a step or branch were given", "Give only one of them."
            )
        elif isinstance(what, str):
            what = Reference.from_text(what)
        checkpoint = what if isinstance(what, Checkpoint) else None
        reference = what.reference if isinstance(what, Checkpoint) else what
        if checkpoint and checkpoint.tip:
            await self._ledger.begin(checkpoint.tip)
        payload = await self._chain.open_reference(reference, self._scope)
        try:
            state = await off_loop(len(payload), DECODE_INLINE_UP_TO, unpack, payload, into)
        except CoatcheckError as error:
            raise error.about(reference.object_id.hex())  # noqa: B904 - the same error, naming the object
        return state, reference, checkpoint

    async def _at(self, step: int | None, branch: int | None) -> Checkpoint | None:
        if step is None:
            return await self._records.latest(branch)
        if branch is not None:
            return await self._records.at(Position(branch, step))
        tip = await self._records.tip()
        if tip is None:
            return None
        if step == tip.step:
            found = await self._records.at(tip)
        else:
            found = await self._records.on_line(tip, await self._records.forks(tip), step)
        return found and found.seen_with(tip)


class SyncCheckpoints(SyncFace[Checkpoints]):
    """:class:`Checkpoints` for code that cannot await: :attr:`Checkpoints.sync`. As :class:`~coatcheck.chain.SyncChain`.

    Saves take turns with those that are awaited elsewhere. In a running event loop that has one under way itself, a save
    raises ``ConfigError``: it would wait for what it holds up.
    """

    __slots__ = ()

    save = blocking(Checkpoints.save)
    restore = blocking(Checkpoints.restore)
    read = blocking(Checkpoints.read)
    latest = blocking(Checkpoints.latest)
    at = blocking(Checkpoints.at)
    history = blocking_iterator(Checkpoints.history)
    listing = blocking_iterator(Checkpoints.listing)
    fork = blocking(Checkpoints.fork)
    delete = blocking(Checkpoints.delete)


def _check_step(step: object) -> None:
    if type(step) is not int or not 0 <= step <= LAST_STEP:
        said = f"{step}" if isinstance(step, int | float) else f"a {type(step).__name__}"
        raise ConfigError(f"not a step number: {said}", f"Steps are integers from 0 to {LAST_STEP}.")
