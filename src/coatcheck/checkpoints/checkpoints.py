"""Checkpoints: the states of an agent's run, saved step by step, and brought back after a crash."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar, overload

from coatcheck.chain import Chain
from coatcheck.checkpoints.records import Checkpoint, CheckpointRecords, DamagedCheckpoint
from coatcheck.checkpoints.removal import Removal
from coatcheck.checkpoints.turns import Turns
from coatcheck.checkpoints.writer import CheckpointWriter, Stand
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

__all__ = ["Checkpoint", "Checkpoints", "DamagedCheckpoint", "SyncCheckpoints", "idempotency_key"]

_T = TypeVar("_T")

_KEY_LENGTH: Final = 16
_NAME_LENGTH: Final = 1000
"""Characters of a run's name that its records hold."""


class Checkpoints:
    """The checkpoints of one run. All its states share a scope, so each is stored as a delta where that gains.

    An object of this class is one writer: it knows what it restored or saved last, and its saves happen one after the other,
    from however many tasks, threads and event loops they are called. Two writers of one run are told of each other. Reading
    is free to any number of objects and processes. The caller closes the chain.

    A run is a line of steps. Who restores an earlier step and saves again starts a branch: the new steps hide those that
    were abandoned, which stay listed until they are deleted.

    Args:
        chain: What states pass on their way; it must have an :class:`Offload`.
        run: The run's name: whatever the engine or the application calls it. Not empty.
        tenant: Who owns it. Not empty.

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
        """Keep the state of a step; when this returns, it survives the process and the machine.

        The state is durable before the record that says so: whoever finds the checkpoint finds its state. A step above
        the last one continues the run. A step that this writer goes back to, by restoring an earlier one or by saving
        one again, starts a branch, and so replaces nothing; every reference that was returned remains good. The same
        state at the same step, such as a retry, is the same checkpoint.

        A writer that restored nothing goes on from the newest checkpoint, or from the one below ``step`` if there are
        later ones.

        Three requests, two of them at the same time: the state, a look at the newest record, the new record. One more
        before the first of a process, and a few more where a branch starts.

        Args:
            state: Bytes, JSON values, a pydantic model, a dataclass, or a list or dict of one kind of those. Read once,
                before anything is awaited, on the event loop: later changes to it do not matter. Bytes are not copied,
                unless they begin with a zero or as JSON does.
            step: 0 to 2**63 - 1, counted by the caller; it may leave gaps. Not secret: it is part of a key in the store.
            as_type: The type of the state where its own does not say all, such as a ``TypedDict`` or ``list[A | B]``.

        Returns:
            The reference, for whatever journal, queue or log there is. ``str()`` makes it text.

        Raises:
            CheckpointConflict: Another writer saved to this run since this one last looked, or deleted it. Nothing was
                recorded; :attr:`CheckpointConflict.reference` leads to the state.
            ConfigError: ``step`` is no step, the chain is ``decode_only``, or ``as_type`` is nothing that can be saved.
            FormatError: The state would not come back equal, such as one with tuples or a model that leaves fields out.
                The message names the field.
            LimitExceeded: The state is larger than the chain's ``max_payload``, or the run has a million branches.
            StoreError: The store cannot or will not take it.
        """
        _check_step(step)
        payload = pack(state, as_type)
        async with self._turns.turn():
            return await self._writer.save(payload, step)

    @overload
    async def restore(
        self,
        what: Checkpoint | Reference | str | None = None,
        into: None = None,
        *,
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

    @overload
    async def restore(
        self,
        what: Checkpoint | Reference | str | None,
        into: type[_T],
        *,
        step: int | None = None,
        branch: int | None = None,
    ) -> _T: ...

    async def restore(
        self,
        what: Checkpoint | Reference | str | None = None,
        into: type[_T] | None = None,
        *,
        step: int | None = None,
        branch: int | None = None,
    ) -> Any:
        """Return a state, equal to what was saved, or raise. This writer's next save goes on from it; see :meth:`read`.

        Without ``what``, :meth:`at` says which. One round trip for the state and all that it is a delta against, and at
        most three requests before it.

        Args:
            what: A checkpoint; or what :meth:`save` returned, or its text. A reference does not say its step: to go on
                from an earlier one than the newest, restore it by step or checkpoint.
            into: The model or dataclass that was saved, or another type that fits, such as ``list[Model]``; without it
                JSON comes back as JSON values, and bytes as bytes.
            step: See :meth:`at`.
            branch: See :meth:`at`.

        Raises:
            ConfigError: Both ``what`` and a step or branch are given, or there is no such step.
            FormatError: The text is no reference, or the state does not fit ``into``; the message names the field.
            IntegrityError: The reference or what it leads to is not what was saved, or belongs to another run.
            KeyUnavailable: The key that it was sealed under is not in the keyring.
            LimitExceeded: The state is larger than the chain's ``max_payload``.
            PayloadNotFound: There is no checkpoint, or an object is gone; it is named.
            StoreError: The store cannot or will not give it.
        """
        state, reference, checkpoint = await self._open(what, into, step, branch)
        self._writer.stand = Stand(reference.object_id, checkpoint, checkpoint.tip if checkpoint else None)
        return state

    @overload
    async def read(
        self,
        what: Checkpoint | Reference | str | None = None,
        into: None = None,
        *,
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

    @overload
    async def read(
        self,
        what: Checkpoint | Reference | str | None,
        into: type[_T],
        *,
        step: int | None = None,
        branch: int | None = None,
    ) -> _T: ...

    async def read(
        self,
        what: Checkpoint | Reference | str | None = None,
        into: type[_T] | None = None,
        *,
        step: int | None = None,
        branch: int | None = None,
    ) -> Any:
        """As :meth:`restore`, only to look at it: what this writer saves next does not go on from there."""
        return (await self._open(what, into, step, branch))[0]

    async def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint, the last of the branch that was written last; None if there is none.

        One listing for each store and key, and one record. A record that is damaged is logged and passed over.

        Raises:
            IntegrityError: There are records, and none of the newest 32 can be read.
            StoreError: The store cannot or will not be listed, or give a record.
        """
        return await self._records.latest()

    async def at(self, step: int | None = None, *, branch: int | None = None) -> Checkpoint:
        """Return the checkpoint of a step, or the latest one. At most three requests for each store and key.

        Args:
            step: Of the run as it went in the end: that of an abandoned branch is hidden by the branch that hides it.
            branch: Only of this branch.

        Raises:
            ConfigError: There is no such step or branch.
            PayloadNotFound: There is none.
            CoatcheckError: As :meth:`latest`; also where the record of this step cannot be read.
        """
        if step is not None:
            _check_step(step)
        if branch is not None and (type(branch) is not int or not 0 <= branch <= LAST_BRANCH):
            raise ConfigError("that is no branch", f"Branches are integers, 0 to {LAST_BRANCH}.")
        found = await self._at(step, branch)
        if found is None:
            what = "the run" if step is None else f"step {step}"
            where = "" if branch is None else f" in branch {branch}"
            raise PayloadNotFound(
                f"{what} has no checkpoint{where}",
                "Check the run and the tenant, and that the key it was saved under is in the keyring.",
            )
        return found

    async def history(
        self, *, limit: int | None = None, before: Checkpoint | None = None
    ) -> AsyncIterator[Checkpoint]:
        """Every checkpoint, the newest first, those of abandoned branches as well. No state is fetched.

        Page by page: memory does not grow with their number, and each page has a deadline of its own. Records that
        cannot be read are logged and passed over; :meth:`listing` has them.

        Args:
            limit: At most so many.
            before: Only those that were saved before this one, to go on from an earlier call.

        Raises:
            LimitExceeded: The store holds more than 10,000 names of records that nobody with the key gave.
            StoreError: The store cannot or will not be listed, or give a record.
        """
        async for found in self.listing(limit=limit, before=before):
            if isinstance(found, Checkpoint):
                yield found

    def listing(
        self, *, limit: int | None = None, before: Checkpoint | DamagedCheckpoint | None = None
    ) -> AsyncIterator[Checkpoint | DamagedCheckpoint]:
        """As :meth:`history`, and a mark in the place of each record that cannot be read."""
        return self._records.listing(limit, None if before is None else Position(before.branch, before.step))

    async def fork(self, run: str, *, step: int | None = None, branch: int | None = None) -> "Checkpoints":
        """Open a state of this run in another one, and return that run's checkpoints, ready to go on.

        The state is copied, since runs share no objects: each can be deleted by itself. Doing it again is harmless.

        Args:
            run: The name of the other run, which must have no checkpoints yet.
            step: See :meth:`at`.
            branch: See :meth:`at`.

        Raises:
            CheckpointConflict: The other run has checkpoints.
            CoatcheckError: As :meth:`at`, :meth:`restore` and :meth:`save`.
        """
        checkpoint = await self.at(step, branch=branch)
        payload = await self._chain.open_reference(checkpoint.reference, self._scope)
        other = Checkpoints(self._chain, run=run, tenant=self._tenant)
        await other._writer.begin_with(payload, checkpoint.step)
        return other

    async def delete(self, *, before: int | None = None, branch: int | None = None) -> int:
        """Delete checkpoints for good, with all that only they need, and return how many there were.

        Records go first: a call that is interrupted leaves no checkpoint without its state, and is finished by another
        one. What a versioned bucket keeps of deleted objects is its own affair, and so are the copies of replicas.

        No other process may be saving to the run meanwhile: what it writes could build on what goes. One that saved to
        it within the last hour is told with its next save (:class:`CheckpointConflict`) if all was deleted, and has to be
        started anew otherwise. ``coatcheck sweep checkpoints`` is for runs that are being written.

        Args:
            before: Only of steps below this one, in every branch.
            branch: Only of this branch. Steps of other branches that went on from it are no longer reached through it.

        Raises:
            ConfigError: ``before`` is no step.
            IntegrityError: The record of one that stays cannot be read, so what it needs cannot be told.
            StoreError: The store cannot or will not list or delete; some may be gone.
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
            stand = self._writer.stand
            if everything or (stand is not None and stand.tip in removal.gone):
                # It has nothing to go on from, and knows why.
                self._writer.stand = None
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
            raise ConfigError("a reference or checkpoint, and a step or branch", "Give one of the two.")
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
            raise error.about(reference.object_id.hex())  # noqa: B904 - the same error, with the object named
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


def idempotency_key(run: str, step: int, tool: str = "") -> str:
    """The key for a tool that writes: the same for every attempt at a step, so that it happens once.

    An agent that crashed between a write and the checkpoint after it makes the same step, and the same write, again. A
    service that takes idempotency keys, or a table where the key is unique, then knows it for the one that it has seen.

    It is the start of SHA-256 over ``run``, ``step`` and ``tool``, so it is the same in every process, release and
    language (``docs/wire-format.md``, "Checkpoints"). No secret goes in: whoever knows the three can tell the key.

    Args:
        run: The run; make it say the tenant where runs of several tenants write to one place.
        step: The step.
        tool: Which write of the step, if it has several: ``"refund"``, ``"mail:2"``.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(b"coatcheck/v1/idempotency-key/")
    for field in (run, str(step), tool):
        data = field.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()[:_KEY_LENGTH].hex()


def _check_step(step: object) -> None:
    if type(step) is not int or not 0 <= step <= LAST_STEP:
        said = f"{step}" if isinstance(step, int | float) else f"a {type(step).__name__}"
        raise ConfigError(f"there is no step {said}", f"Steps are integers, 0 to {LAST_STEP}.")
