"""Serialisation with a chain, call by call."""

from typing import TypeVar

from restate.serde import Serde

from coatcheck.chain import Chain
from coatcheck.errors import FormatError
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.integrations.restate.attempt import check_lease
from coatcheck.integrations.restate.scopes import current_scope
from coatcheck.scope import Scope

T = TypeVar("T")


class ClaimCheckSerde(Serde[T]):
    """Another serde's bytes, compressed and sealed: for apps whose journal values are not all to pass the chain.

    A serde cannot await, so nothing is offloaded: that is what :meth:`ClaimCheck.offload` is for. The same value gives
    the same bytes, as Restate demands of what a handler writes.

    Args:
        inner: Makes bytes of values.
        chain: Its codecs and its sealing.
        tenant: Whose values they are.
    """

    def __init__(self, inner: Serde[T], chain: Chain, tenant: str) -> None:
        self._inner = inner
        self._chain = chain
        self._tenant = tenant

    def serialize(self, obj: T | None) -> bytes:
        """The value as bytes, sealed.

        Raises:
            ConfigError: The chain loads keys, and this is part of no attempt that holds them.
            LimitExceeded: They are more than the chain's ``max_payload``.
        """
        data = bytes(self._inner.serialize(obj))
        if not data or self._chain.decode_only:
            return data
        check_lease(self._chain)
        return self._chain.seal_inline(data, current_scope(self._tenant))

    def deserialize(self, buf: bytes) -> T | None:
        """The value; what was never sealed is handed on as it is, if the chain takes it.

        Raises:
            FormatError: It was offloaded, which takes an await to bring back.
            IntegrityError: It is not what was sealed, was sealed for another tenant, or came in the clear where the chain takes
                only what is sealed.
            KeyUnavailable: Its key is not in the keyring.
        """
        if not is_ours(buf):
            if buf:
                self._chain.check_plain("a value of a handler")
            return self._inner.deserialize(buf)
        if is_reference(buf):
            raise FormatError(
                "the value was offloaded, and a serde cannot wait for a store",
                "Use ClaimCheck.app, which takes care of that, or ClaimCheck.load.",
            )
        return self._inner.deserialize(self._chain.open_inline(buf, Scope(self._tenant)))
