"""The interface of a codec."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class Codec(ABC):
    """A reversible transform of bytes. Pure and synchronous: the chain calls it off the event loop for large payloads.

    Compatibility: two codecs share a ``name`` if and only if each can decode the output of the other. The name is
    written into every envelope; the decoder gets no other information. Instances must be thread-safe.
    """

    name: ClassVar[str]
    """1 to 32 characters of ``a-z 0-9 -``, registered in ``docs/wire-format.md`` if it is ours."""

    @abstractmethod
    def encode(self, data: bytes) -> bytes | None:
        """Return ``data`` transformed; ``None`` if that gains nothing, and the step is then skipped."""

    @abstractmethod
    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        """Undo :meth:`encode`.

        Args:
            data: The output of :meth:`encode`, or anything else.
            limit: Bytes. Never allocate more than this for the result.

        Raises:
            LimitExceeded: The result is larger than ``limit`` bytes.
            FormatError: ``data`` is not the output of this codec.
        """


class DeltaCodec(Codec):
    """A codec that can also express a payload as the difference from an earlier one of the same scope.

    A chain makes deltas only if this is its first codec: only there does it see unchanged payloads.
    """

    delta_name: ClassVar[str]
    """The name of deltas in envelopes. The same rules apply as for :attr:`Codec.name`."""

    @abstractmethod
    def encode_delta(self, data: bytes, base: bytes) -> bytes | None:
        """Return ``data`` as a difference from ``base``; ``None`` if that is not possible."""

    @abstractmethod
    def decode_delta(self, data: bytes | memoryview, base: bytes, limit: int) -> bytes:
        """Undo :meth:`encode_delta`. Raises as :meth:`Codec.decode`.

        Args:
            data: The output of :meth:`encode_delta`, or anything else.
            base: The same base as there.
            limit: Bytes. Never allocate more than this for the result.
        """

    def decode_deltas(
        self, whole: bytes | memoryview, deltas: Sequence[bytes | memoryview], limits: Sequence[int]
    ) -> bytes:
        """Return the last payload of a chain: a whole one, then deltas, each against the payload before.

        Override it if the codec can decode all of them faster in one call.

        Args:
            whole: The output of :meth:`encode`.
            deltas: The outputs of :meth:`encode_delta`, in order.
            limits: Bytes that each payload may have, that of ``whole`` first: one more than there are deltas.

        Raises:
            CoatcheckError: As :meth:`decode_delta`, without naming the delta.
        """
        payload = self.decode(whole, limits[0])
        for delta, limit in zip(deltas, limits[1:], strict=True):
            payload = self.decode_delta(delta, payload, limit)
        return payload
