"""The payload codec: each Temporal payload, metadata and all, is one payload of the chain."""

from collections.abc import Sequence
from typing import Self

from google.protobuf.message import DecodeError
from temporalio.activity import in_activity
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from coatcheck.chain import Chain
from coatcheck.concurrency import all_at_once
from coatcheck.errors import CoatcheckError, FormatError
from coatcheck.scope import Scope

ENCODING = b"binary/coatcheck"
"""The ``encoding`` in the metadata of every payload that this codec wrote."""


class ClaimCheckCodec(PayloadCodec, WithSerializationContext):
    """Encodes and decodes payloads on a chain, in the scope of the workflow that they belong to.

    The tenant is the namespace and the run family the workflow ID, so a reset, a retry, a cron or
    continue-as-new reads what earlier runs wrote. Where Temporal names no workflow the tenant scope is used.

    An error on the way to the server that no retry can mend becomes a non-retryable ``ApplicationError``
    inside an activity. On the way back errors stay as they are, which the SDK takes as worth retrying: a
    non-retryable one in a workflow would end it for good, while the operator could still restore the object.

    Args:
        chain: Every payload's path.
        scope: For payloads that come without a context.
    """

    def __init__(self, chain: Chain, scope: Scope) -> None:
        self.chain = chain
        self._scope = scope

    def with_context(self, context: SerializationContext) -> Self:
        """The same codec in the scope that ``context`` names."""
        return type(self)(self.chain, _scope_of(context, default=Scope(self._scope.tenant)))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encode each, concurrently; same length and order as ``payloads``."""
        try:
            return await all_at_once(map(self._encode, payloads))
        except CoatcheckError as error:
            if error.retryable or not in_activity():
                raise
            raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode each that is ours, concurrently; same length and order as ``payloads``."""
        return await all_at_once(map(self._decode, payloads))

    async def _encode(self, payload: Payload) -> Payload:
        # Deterministic: maps have no order of their own, and equal payloads must have equal bytes to have one id.
        data = payload.SerializeToString(deterministic=True)
        encoded = await self.chain.encode(data, self._scope)
        return payload if encoded is data else Payload(metadata={"encoding": ENCODING}, data=encoded)

    async def _decode(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        data = await self.chain.open(payload.data, self._scope)
        try:
            return Payload.FromString(data)
        except DecodeError as error:
            raise FormatError(
                "what was sealed is no Temporal payload", "It was written by another integration."
            ) from error


def _scope_of(context: SerializationContext, default: Scope) -> Scope:
    match context:
        case WorkflowSerializationContext() | ActivitySerializationContext():
            return Scope(context.namespace, context.workflow_id or None)
        case _:
            return default
