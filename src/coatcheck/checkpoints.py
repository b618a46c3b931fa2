"""Checkpoints: the states of an agent's run, saved step by step, and brought back after a crash."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self, TypeVar, overload

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainSerializer,
    ValidationError,
)

from coatcheck.chain import Chain
from coatcheck.concurrency import DECODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.errors import CoatcheckError, ConfigError, FormatError, PayloadNotFound
from coatcheck.format.reference import Reference
from coatcheck.scope import Scope
from coatcheck.states import Kind, kind_of, pack, size_of, unpack
from coatcheck.storage.ledger import Entry

_T = TypeVar("_T")

_LAST_STEP: Final = 2**63 - 1
STEP: Final = "step-"
"""What the names of records begin with."""
_KEY_LENGTH: Final = 16


def _reference(value: object) -> object:
    return Reference.from_text(value) if isinstance(value, str) else value


class Checkpoint(BaseModel):
    """One saved state of a run: which, when, how large, and the reference that brings it back.

    ``model_dump_json()`` gives it with the reference as text.
    """

    # What a later release adds to the record must not keep this one from reading it.
    model_config = ConfigDict(frozen=True, extra="ignore")

    step: Annotated[int, Field(ge=0, le=_LAST_STEP)]
    saved_at: AwareDatetime
    """By the clock of the process that saved it, UTC."""
    size: NonNegativeInt
    """Bytes of the state: as they were given, or as compact JSON."""
    kind: Kind
    """``json`` for JSON values, models and dataclasses."""
    reference: Annotated[Reference, BeforeValidator(_reference), PlainSerializer(Reference.to_text)]

    @classmethod
    def from_record(cls, entry: Entry, record: bytes) -> Self:
        """The checkpoint that a record says.

        Raises:
            FormatError: It is none of a version known here.
        """
        try:
            checkpoint = cls.model_validate_json(record)
        except (ValidationError, FormatError):
            checkpoint = None
        if checkpoint is None or _name(checkpoint.step) != entry.name:
            raise FormatError(
                "the record of a checkpoint is malformed",
                "Upgrade coatcheck, or save the step again.",
                entry.stored.key,
            )
        return checkpoint


class Checkpoints:
    """The checkpoints of one run. All its states share a scope, so each is stored as a delta where that gains.

    Holds nothing but the chain and the names, so it is safe to use from several tasks, threads and event loops, and any
    number of processes can save and restore the same run at once. The caller closes the chain.

    Args:
        chain: What states pass on their way; it must have an :class:`Offload`.
        run: Which run: whatever the engine or the application calls it. Not empty.
        tenant: Who owns it. Not empty.

    Raises:
        ConfigError: The chain has no :class:`Offload`, or a name is empty.
    """

    def __init__(self, chain: Chain, *, run: str, tenant: str = "default") -> None:
        self._chain = chain
        self._scope = Scope(tenant, run, engine="checkpoints")
        self._ledger = chain.ledger(self._scope)

    async def save(self, state: object, step: int) -> Reference:
        """Keep the state of a step; when this returns, it survives the process and the machine.

        The state is durable before the record that says so: whoever finds the checkpoint finds its state. Saving a step
        again replaces its record; of several who do so at once, the last one's stays, and every reference that was
        returned remains good.

        Args:
            state: Bytes, JSON values, a pydantic model, or a dataclass. Read once, before anything is awaited, on the
                event loop: later changes to it do not matter. Bytes are not copied, unless they begin with a zero or as
                JSON does.
            step: 0 to 2**63 - 1, counted by the caller; it may leave gaps. Not secret: it is part of a key in the store.

        Returns:
            The reference, for whatever journal, queue or log there is. ``str()`` makes it text.

        Raises:
            ConfigError: ``step`` is out of range, or the chain is ``decode_only``.
            FormatError: The state would not come back equal, such as one with tuples or a model that leaves fields out.
            LimitExceeded: The state is larger than the chain's ``max_payload``.
            StoreError: The store cannot or will not take it.
        """
        name = _name(step)
        payload = pack(state)
        reference = await self._chain.put(payload, self._scope)
        checkpoint = Checkpoint(
            step=step,
            saved_at=datetime.now(UTC),
            size=size_of(payload),
            kind=kind_of(payload),
            reference=reference,
        )
        await self._ledger.put(name, checkpoint.model_dump_json().encode())
        return reference

    @overload
    async def restore(self, reference: Reference | str | None = None, into: None = None) -> Any: ...

    @overload
    async def restore(self, reference: Reference | str | None = None, *, into: type[_T]) -> _T: ...

    @overload
    async def restore(self, reference: Reference | str | None, into: type[_T]) -> _T: ...

    async def restore(self, reference: Reference | str | None = None, into: type[_T] | None = None) -> Any:
        """The state behind a reference: equal to what was saved, or an error.

        It takes one request for the state and all that it is a delta against, one round trip in all; without a
        reference, one listing and one small record more.

        Args:
            reference: What :meth:`save` returned, or its text; None for the latest checkpoint.
            into: The model or dataclass that was saved, or another that fits; without it JSON comes back as JSON values,
                and bytes as bytes.

        Raises:
            FormatError: The text is no reference, or the state does not fit ``into``.
            IntegrityError: The reference or what it leads to is not what was saved, or belongs to another run.
            KeyUnavailable: The key that it was sealed under is not in the keyring.
            LimitExceeded: The state is larger than the chain's ``max_payload``.
            PayloadNotFound: There is no checkpoint, or an object is gone; it is named.
            StoreError: The store cannot or will not give it.
        """
        if reference is None:
            reference = (await self.at()).reference
        elif isinstance(reference, str):
            reference = Reference.from_text(reference)
        payload = await self._chain.open_reference(reference, self._scope)
        try:
            return await off_loop(len(payload), DECODE_INLINE_UP_TO, unpack, payload, into)
        except CoatcheckError as error:
            raise error.about(reference.object_id.hex())  # noqa: B904 - the same error, with the object named

    async def latest(self) -> Checkpoint | None:
        """The checkpoint with the highest step; None if there is none. One listing for each key, and one record.

        Raises:
            CoatcheckError: As :meth:`history`.
        """
        entries = await self._ledger.entries(STEP)
        return await self._read(entries[-1]) if entries else None

    async def at(self, step: int | None = None) -> Checkpoint:
        """The checkpoint of a step, or the latest one. One listing for each key, and one record.

        Raises:
            ConfigError: ``step`` is out of range.
            PayloadNotFound: There is none.
            CoatcheckError: As :meth:`history`.
        """
        entries = await self._ledger.entries(STEP if step is None else _name(step))
        if not entries:
            what = "the run" if step is None else f"step {step}"
            raise PayloadNotFound(
                f"{what} has no checkpoint",
                "Check the run and the tenant, and that the key it was saved under is in the keyring.",
            )
        return await self._read(entries[-1])

    async def history(self) -> list[Checkpoint]:
        """Every checkpoint, by step: one listing, and the small records concurrently. No state is fetched.

        Raises:
            FormatError: A record is none of a version known here; it is named, as by the others.
            IntegrityError: A record is not what was written.
            LimitExceeded: There are more than 100,000.
            PayloadNotFound: A record was removed meanwhile.
            StoreError: The store cannot or will not be listed, or give a record.
        """
        return await all_at_once(self._read(entry) for entry in await self._ledger.entries(STEP))

    async def _read(self, entry: Entry) -> Checkpoint:
        return Checkpoint.from_record(entry, await self._ledger.get(entry))


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


def _name(step: int) -> str:
    if not 0 <= step <= _LAST_STEP:
        raise ConfigError(f"there is no step {step}", f"Steps are 0 to {_LAST_STEP}.")
    return f"{STEP}{step:020}"
