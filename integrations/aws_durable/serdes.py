"""Serialization of the results of operations, on a chain."""

from typing import Any, Final

from aws_durable_execution_sdk_python.serdes import EXTENDED_TYPES_SERDES, SerDes, SerDesContext

from coatcheck.integrations.aws_durable.invocation import MOST_INLINE, Invocation
from coatcheck.integrations.aws_durable.scopes import execution_scope
from coatcheck.scope import Scope


class Plain(SerDes[Any]):
    """A serialization that the chain leaves alone: for what somebody without the chain reads or writes.

    For example ``InvokeConfig(serdes_payload=Plain(), serdes_result=Plain())`` for a function that has no chain.

    Args:
        inner: Makes text of values; the SDK's own for results of steps, unless it is given.
    """

    def __init__(self, inner: SerDes[Any] = EXTENDED_TYPES_SERDES) -> None:
        self._inner = inner

    def serialize(self, value: Any, serdes_context: SerDesContext) -> str:
        """Return the value as ``inner`` makes it."""
        return self._inner.serialize(value, serdes_context)

    def deserialize(self, data: str, serdes_context: SerDesContext) -> Any:
        """Return the value as ``inner`` reads it."""
        return self._inner.deserialize(data, serdes_context)


class ClaimCheckSerDes(SerDes[Any]):
    """Puts another serialization's text through a chain. Made by :meth:`ClaimCheck.serdes`, and for each operation of a handler.

    Args:
        inner: Makes text of values, deterministically.
        invocation: Encodes and decodes the text.
        name: What the values are, for the chain's rules: ``step:charge``.
        limit: Bytes that a value may take in a checkpoint; None where the SDK itself helps with larger ones.
        handed_on: True for values that another execution, or somebody outside, has sealed: they are read with the
            tenant's rights.
    """

    def __init__(
        self,
        inner: SerDes[Any],
        invocation: Invocation,
        name: str,
        *,
        limit: int | None = MOST_INLINE,
        handed_on: bool = False,
    ) -> None:
        self._inner: Final = inner
        self._invocation = invocation
        self._name = name
        self._limit = limit
        self._handed_on = handed_on

    def serialize(self, value: Any, serdes_context: SerDesContext) -> str:
        """Return the text to checkpoint: what it refers to is durable. Called by the SDK.

        Raises:
            RetryableSerDesError: It is too large for a checkpoint, and the store does not take it now.
            SerDesError: It is too large, and no other invocation would help.
        """
        text = self._inner.serialize(value, serdes_context)
        if text is None:  # as a serialization may, in the SDK's terms
            return text
        scope = execution_scope(self._invocation.tenant, serdes_context.durable_execution_arn)
        return self._invocation.encode(text, scope, self._name, self._limit)

    def deserialize(self, data: str, serdes_context: SerDesContext) -> Any:
        """Return the value behind a checkpointed text; one that was never sealed as it is, if the chain accepts it.

        Raises:
            RetryableSerDesError: It cannot be read now.
            SerDesError: It was changed, belongs to somebody else, or is in the clear where the chain takes only what is sealed.
        """
        tenant = self._invocation.tenant
        scope = (
            Scope(tenant)
            if self._handed_on
            else execution_scope(tenant, serdes_context.durable_execution_arn)
        )
        text = self._invocation.decode(data, scope, f"the value of {self._name}")
        return self._inner.deserialize(text, serdes_context)
