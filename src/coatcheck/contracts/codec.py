"""The interface of a codec."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class Codec(ABC):
    """A reversible transform of bytes. Pure and synchronous: the chain calls it off the event loop.

    The law of compatibility: two codecs share a ``name`` if and only if each can decode what the other
    encodes. The name is written into every envelope; it is all that the decoder is told.
    Instances must be safe to use from several threads at once.
    """

    name: ClassVar[str]
    """1 to 32 characters of ``a-z 0-9 -``, registered in ``docs/wire-format.md`` if it is ours."""

    @abstractmethod
    def encode(self, data: bytes) -> bytes | None:
        """Transform ``data``; ``None`` where that gains nothing, and the step is then left out."""

    @abstractmethod
    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        """Undo :meth:`encode`, never holding more than ``limit`` bytes of output.

        Raises:
            LimitExceeded: There would be more than ``limit`` bytes.
            FormatError: ``data`` is not what this codec writes.
        """


class DeltaCodec(Codec):
    """A codec that can also express a payload by its difference from an earlier one of the same scope.

    A chain uses it so if it is the first of its codecs: only there it meets payloads as they are.
    """

    delta_name: ClassVar[str]
    """The name of the second form in envelopes; :attr:`Codec.name` and its law apply to it as well."""

    @abstractmethod
    def encode_delta(self, data: bytes, base: bytes) -> bytes | None:
        """``data`` as a difference from ``base``; ``None`` where that cannot be done."""

    @abstractmethod
    def decode_delta(self, data: bytes | memoryview, base: bytes, limit: int) -> bytes:
        """Undo :meth:`encode_delta` with the same ``base``; raises as :meth:`Codec.decode`."""

    def decode_deltas(
        self, whole: bytes | memoryview, deltas: Sequence[bytes | memoryview], limits: Sequence[int]
    ) -> bytes:
        """The last of several payloads: one that was encoded by itself, then deltas, each against the one before.

        For codecs that save something if they do it in one go.

        Args:
            whole: What :meth:`encode` gave.
            deltas: What :meth:`encode_delta` gave, in order.
            limits: Of each payload, that of ``whole`` first: one more than there are deltas.

        Raises:
            CoatcheckError: As :meth:`decode_delta`, without saying where.
        """
        payload = self.decode(whole, limits[0])
        for delta, limit in zip(deltas, limits[1:], strict=True):
            payload = self.decode_delta(delta, payload, limit)
        return payload
