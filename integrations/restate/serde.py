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
    """Compresses and seals another serde's bytes: for apps in which only some journal values pass the chain.

    A serde cannot await, so nothing is offloaded: use :meth:`ClaimCheck.offload` for that. The same value gives the
    same bytes, as Restate requires of handlers.

    Args:
        inner: Makes bytes of values.
        chain: The chain whose codecs and sealing are used.
        tenant: The tenant that the values belong to.
    """

    def __init__(self, inner: Serde[T], chain: Chain, tenant: str) -> None:
        self._inner = inner
        self._chain = chain
        self._tenant = tenant

    def serialize(self, obj: T | None) -> bytes:
        """Return the value as bytes, sealed.

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
        """Return the value; one that was never sealed is returned as it is, if the chain accepts it.

        Raises:
            FormatError: It was offloaded, which needs an await to read.
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
