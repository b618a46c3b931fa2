"""The payload codec: each Temporal payload, metadata and all, is one payload of the chain."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from copy import copy
from typing import Final, Literal, Self, get_args

from google.protobuf.message import DecodeError
from temporalio.activity import in_activity
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionResponse
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from coatcheck.chain import Chain
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    KeyDestroyed,
    KeyUnavailable,
    is_outage,
)
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference
from coatcheck.integrations.temporal.attempts import Attempts
from coatcheck.integrations.temporal.names import WORKFLOW, name_called, name_in
from coatcheck.integrations.temporal.native import ENCODING, from_native, is_native, to_native
from coatcheck.integrations.temporal.passing import INLINE_UP_TO, Heartbeats, passing_now
from coatcheck.integrations.temporal.sandbox import Notes
from coatcheck.integrations.temporal.schedules import is_scheduling
from coatcheck.integrations.temporal.scopes import workflow_scope
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope

__all__ = ["ENCODING", "ClaimCheckCodec", "Mode"]

_logger: Final = logging.getLogger(__name__)
_ANSWERS_OF_THE_SERVER: Final = {SignalWithStartWorkflowExecutionResponse.DESCRIPTOR.full_name.encode()}
"""Types of the server's own answers to a workflow, which no chain seals. They name a run."""
_TRIED_INLINE: Final = 16
"""Factor of the inline limit: a larger payload hardly ever compresses below it."""

Mode = Literal["codec", "native"]
"""Form of references to large payloads in the history: the codec's own, or Temporal's."""


class ClaimCheckCodec(PayloadCodec, WithSerializationContext):
    """Encodes and decodes payloads on a chain, in the scope of the workflow that they belong to.

    The tenant is the namespace and the run family the workflow ID, so a reset, a retry, a cron or
    continue-as-new reads what earlier runs wrote. Where Temporal names no workflow the tenant scope is used, and in
    schedules, whose workflows have no ID yet.

    An encoding error that no retry can fix becomes a non-retryable ``ApplicationError`` inside an activity. Decoding
    errors stay as they are, and the SDK retries them: a non-retryable one in a workflow would end it for good, while
    the operator could still restore the object. Only a destroyed key ends an activity at once.

    Args:
        chain: The chain for all payloads.
        scope: Scope of payloads that come without a context.
        mode: Form of references. In ``"native"`` mode the SDK reads them only with the storage that
            :func:`~coatcheck.integrations.temporal.wrap_data_converter` sets up together with the codec. Of the tenant
            they are the codec's own in either mode: the server's own workers read what belongs to no workflow, and
            refuse external storage.
        read_also: Codecs that decode others' payloads, in this order; they never encode.
        nexus_namespaces: Other tenants whose payloads are opened where Temporal names no workflow.

    Raises:
        ConfigError: There is no such mode, or the chain does not go with ``read_also``.
    """

    def __init__(
        self,
        chain: Chain,
        scope: Scope,
        *,
        mode: Mode = "codec",
        read_also: Sequence[PayloadCodec] = (),
        nexus_namespaces: Collection[str] = (),
    ) -> None:
        if mode not in get_args(Mode):
            raise ConfigError(f"there is no mode {mode!r}", f"Use one of {', '.join(get_args(Mode))}.")
        chain.check_readers(read_also)
        self.chain = chain
        self.mode: Mode = mode
        self._scope = scope
        self._name = ""
        self.read_also = tuple(read_also)
        self.nexus_namespaces = tuple(nexus_namespaces)
        self.notes = Notes()
        """Notes of workflows on themselves; see :class:`~coatcheck.integrations.temporal.passing.WorkerInterceptor`."""
        self.attempts = Attempts(chain)
        """Leases of keys for workers' attempts; see :class:`~coatcheck.integrations.temporal.attempts.AttemptInterceptor`."""

    def with_context(self, context: SerializationContext) -> Self:
        """Return the same codec in the scope that ``context`` names."""
        bound = copy(self)
        bound._scope = _scope_of(context, default=Scope(self._scope.tenant))  # noqa: SLF001 - a copy of ourselves
        bound._name = name_in(context)  # noqa: SLF001
        bound.read_also = tuple(
            other.with_context(context) if isinstance(other, WithSerializationContext) else other
            for other in self.read_also
        )
        return bound

    def agrees_with(self, other: "ClaimCheckCodec") -> bool:
        """Tell if both do the same with the same chain, for whatever namespace and workflow."""
        return self.chain is other.chain and all(
            getattr(self, name) == getattr(other, name) for name in ("mode", "nexus_namespaces")
        )

    @property
    def namespace(self) -> str:
        """The tenant of payloads that come without a context."""
        return self._scope.tenant

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encode each, concurrently; same length and order as ``payloads``, except for a heartbeat.

        If the details of a heartbeat cannot be encoded now, the previous details are sent again: an activity must not be
        cancelled because a store is down.
        """
        passing = passing_now()
        if isinstance(passing, Heartbeats):
            return await self._encode_heartbeat(payloads, passing)
        try:
            with self.attempts.using_handed_on(self._scope):
                return await self._encode_all(payloads, inline=passing is not None or self._answers_query())
        except CoatcheckError as error:
            if error.retryable or not in_activity():
                raise
            raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode each that is ours, concurrently; same length and order as ``payloads``.

        Payloads that are not ours are returned unchanged, if the chain accepts them: see :meth:`Chain.check_plain`.
        """
        with self.attempts.using_handed_on(self._scope):
            await self._read_notes()
            return await all_at_once(map(self._decode, payloads))

    async def _encode_heartbeat(self, payloads: Sequence[Payload], heartbeats: Heartbeats) -> list[Payload]:
        try:
            async with asyncio.timeout(heartbeats.patience):
                heartbeats.sent = await self._encode_all(payloads, inline=True)
        except (CoatcheckError, TimeoutError) as error:
            _logger.warning(
                "the details of a heartbeat of activity %s could not be encoded, %s: %s",
                heartbeats.activity,
                "the previous ones are sent again" if heartbeats.sent else "and the heartbeat has none",
                str(error)
                or f"that took longer than {heartbeats.patience} s, a part of the heartbeat's time-out",
            )
        return list(heartbeats.sent)

    async def _encode_all(self, payloads: Sequence[Payload], *, inline: bool) -> list[Payload]:
        await self._read_notes()
        return await all_at_once(self._encode(payload, inline=inline) for payload in payloads)

    async def _encode(self, payload: Payload, *, inline: bool) -> Payload:
        # A later SDK has the codec encode the references too (temporalio.converter._extstore).
        if is_native(payload):
            return payload
        scope = Scope(self._scope.tenant) if is_scheduling() else self._scope
        # Deterministic: maps have no order of their own, and equal payloads must have equal bytes to have one id.
        data = payload.SerializeToString(deterministic=True)
        encoded = await self._sealed(data, scope, inline=inline)
        if encoded is data:
            return payload
        if self.mode == "native" and scope.run is not None and is_reference(encoded):
            return to_native(Reference.from_bytes(encoded))
        return Payload(metadata={"encoding": ENCODING}, data=encoded)

    async def _sealed(self, data: bytes, scope: Scope, *, inline: bool) -> bytes:
        if inline and len(data) <= _TRIED_INLINE * INLINE_UP_TO:
            sealed = await self.chain.encode(data, scope, inline=True)
            if len(sealed) <= INLINE_UP_TO:
                return sealed
        return await self.chain.encode(data, scope, name=name_called() or self._name)

    def _answers_query(self) -> bool:
        # The note is of the workflow alone: its activities and clients in this process encode meanwhile, in its scope.
        if self._name != WORKFLOW or name_called() or self._scope.run is None:
            return False
        return self.notes.take_query((self._scope.tenant, self._scope.run))

    async def _read_notes(self) -> None:
        for namespace, workflow_id in self.notes.take_replayed():
            await self.chain.replaying(workflow_scope(namespace, workflow_id))

    async def _decode(self, payload: Payload) -> Payload:
        # The SDK's storage step turns these round before they come here; a codec server has no such step. One that the
        # SDK had a codec encode comes without its size before that step, which is to have it.
        if payload.external_payloads:
            payload = from_native(payload) or payload
        if payload.metadata.get("encoding") != ENCODING:
            for other in self.read_also:
                [payload] = await other.decode([payload])
            if payload.metadata.get("messageType") not in _ANSWERS_OF_THE_SERVER:
                self.chain.check_plain("a payload of a workflow")
            return payload
        data = await self._open(payload.data)
        try:
            return Payload.FromString(data)
        except DecodeError as error:
            raise FormatError(
                "the sealed payload is not a Temporal payload", "It was written by another integration."
            ) from error

    async def _open(self, data: bytes) -> bytes:
        try:
            return await self.chain.open(data, self._scope)
        except (IntegrityError, KeyUnavailable) as error:
            if self._scope.run is not None:
                raise
            refusals: list[CoatcheckError] = [error]
            # What is of another tenant is found out by its authentication, before anything is fetched; by its key, where each
            # tenant has keys of its own.
            for namespace in self.nexus_namespaces:
                try:
                    return await self.chain.open(data, Scope(namespace))
                except (IntegrityError, KeyUnavailable) as refusal:
                    refusals.append(refusal)
            raise _most_telling(refusals)  # noqa: B904 - one of those that were caught


def _most_telling(refusals: Sequence[CoatcheckError]) -> CoatcheckError:
    """Return what to say of a payload that opens in no namespace: a namespace whose key cannot be had may be its own."""
    for refusal in refusals:
        if is_outage(refusal):
            return refusal
    return next((refusal for refusal in refusals if isinstance(refusal, KeyDestroyed)), refusals[0])


def _scope_of(context: SerializationContext, default: Scope) -> Scope:
    match context:
        case WorkflowSerializationContext() | ActivitySerializationContext():
            if context.workflow_id:
                return workflow_scope(context.namespace, context.workflow_id)
            return Scope(context.namespace)
        case _:
            return default
