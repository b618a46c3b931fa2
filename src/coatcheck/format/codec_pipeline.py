"""The codecs of a chain, there and back."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from coatcheck.contracts.codec import Codec, DeltaCodec
from coatcheck.errors import CoatcheckError, ConfigError, FormatError
from coatcheck.format.envelope import Body, EnvelopeHeader
from coatcheck.format.wire import NAME_PATTERN, Reader, size_to_bytes


class Encoded(NamedTuple):
    """A payload after the codecs."""

    body: bytes
    codecs: tuple[str, ...]
    """The names of those that gained something, in order."""


class CodecPipeline:
    """Applies codecs in order, and undoes whichever of them an envelope names.

    Args:
        codecs: In the order of the chain.
        max_payload: Bytes; what no intermediate result may exceed.

    Raises:
        ConfigError: A codec's name is malformed.
    """

    def __init__(self, codecs: Sequence[Codec], max_payload: int) -> None:
        self._codecs = codecs
        self._by_name = {codec.name: codec for codec in codecs}
        self._delta = codecs[0] if codecs and isinstance(codecs[0], DeltaCodec) else None
        self._by_delta_name = {codec.delta_name: codec for codec in codecs if isinstance(codec, DeltaCodec)}
        self._max_payload = max_payload
        for name in (*self._by_name, *self._by_delta_name):
            if not re.fullmatch(NAME_PATTERN, name):
                raise ConfigError(f"{name!r} is not a codec's name", "Use 1 to 32 characters of a-z 0-9 _ -.")

    @property
    def makes_deltas(self) -> bool:
        """Whether :meth:`encode_delta` can ever do anything."""
        return self._delta is not None

    def encode(self, data: bytes) -> Encoded:
        """``data`` by itself."""
        return self._apply(self._codecs, data)

    def encode_delta(self, data: bytes, base: bytes, place: int) -> Encoded | None:
        """``data`` by its difference from ``base``; None where that cannot be done.

        Args:
            data: The payload.
            base: An earlier payload of the same scope.
            place: The payload's place in its lineage, which is kept with it.
        """
        delta = self._delta.encode_delta(data, base) if self._delta else None
        if delta is None or self._delta is None:
            return None
        body, names = self._apply(self._codecs[1:], size_to_bytes(place) + delta)
        return Encoded(body, (self._delta.delta_name, *names))

    def decode(
        self, body: bytes | memoryview, header: EnvelopeHeader, base: bytes | None
    ) -> tuple[bytes, int]:
        """The payload, and its place in its lineage.

        Args:
            body: What was sealed.
            header: Of the envelope that it was sealed in; names the codecs and the payload's size.
            base: The payload of the first of ``header.bases``; None if it has none.

        Raises:
            FormatError: A codec is not in this chain, or does not give what the header says.
            LimitExceeded: There would be more bytes than the header says.
        """
        self._check_count(header)
        place = 0
        for position, name in reversed(list(enumerate(header.codecs))):
            limit = self._max_payload if position else header.size
            if base is not None and position == 0 and name in self._by_delta_name:
                reader = Reader(bytes(body), "delta")
                place = _take_place(reader, header)
                body = self._by_delta_name[name].decode_delta(
                    memoryview(reader.data)[reader.at :], base, limit
                )
            elif name in self._by_name:
                body = self._by_name[name].decode(body, limit)
            else:
                raise _unknown(name)
        if len(body) != header.size:
            raise FormatError(
                f"the payload has {len(body)} bytes where its header says {header.size}",
                "Two codecs share a name without being compatible; use the one that it was written with.",
            )
        return bytes(body), place

    def decode_chain(self, bodies: Sequence[Body], base: bytes | None) -> tuple[bytes, int]:
        """The payload of the first of some objects, and its place in its lineage.

        Args:
            bodies: At least one; each is a delta against the one after it.
            base: The payload that the last is a delta against; None if that stands alone.

        Raises:
            CoatcheckError: As :meth:`decode`; names the object.
        """
        if base is None and len(bodies) > 1:
            found = self._decode_at_once(bodies)
            if found is not None:
                return found
        place = 0
        for body in reversed(bodies):
            try:
                base, place = self.decode(body.data, body.header, base)
            except CoatcheckError as error:
                raise error.about(body.object_id.hex())  # noqa: B904 - the same error, with the object named
        assert base is not None
        return base, place

    def _decode_at_once(self, bodies: Sequence[Body]) -> tuple[bytes, int] | None:
        """By one call; None where more than one codec is at work, or one after the other will say what is amiss."""
        whole, *others = reversed(bodies)
        codec = self._by_delta_name.get(next(iter(others[0].header.codecs), ""))
        if (
            codec is None
            or whole.header.codecs != (codec.name,)
            or any(body.header.codecs != (codec.delta_name,) for body in others)
        ):
            return None
        place, deltas = 0, []
        try:
            for body in others:
                reader = Reader(bytes(body.data), "delta")
                place = _take_place(reader, body.header)
                deltas.append(memoryview(reader.data)[reader.at :])
            payload = codec.decode_deltas(whole.data, deltas, [body.header.size for body in reversed(bodies)])
        except CoatcheckError:
            return None
        return (payload, place) if len(payload) == bodies[0].header.size else None

    def place(self, body: bytes | memoryview, header: EnvelopeHeader) -> int:
        """The payload's place in its lineage, without decoding it; raises as :meth:`decode`."""
        if not header.bases:
            return 0
        self._check_count(header)
        for name in reversed(header.codecs[1:]):
            if name not in self._by_name:
                raise _unknown(name)
            body = self._by_name[name].decode(body, self._max_payload)
        return _take_place(Reader(bytes(body), "delta"), header)

    def _check_count(self, header: EnvelopeHeader) -> None:
        # Each codec may give as much as the payload may have, so a forger must not choose how many there are.
        if len(header.codecs) > max(1, len(self._codecs)):
            raise FormatError(
                f"the payload went through {len(header.codecs)} codecs, and this chain has {len(self._codecs)}",
                "Add those that it was written with to the chain.",
            )

    @staticmethod
    def _apply(codecs: Sequence[Codec], data: bytes) -> Encoded:
        names = []
        for codec in codecs:
            encoded = codec.encode(data)
            if encoded is not None:
                data = encoded
                names.append(codec.name)
        return Encoded(data, tuple(names))


def _take_place(reader: Reader, header: EnvelopeHeader) -> int:
    place = reader.size()
    if place.bit_count() != len(header.bases):
        raise reader.error("its place in its lineage does not fit its bases")
    return place


def _unknown(name: str) -> FormatError:
    return FormatError(
        f"the payload needs the codec {name!r}, which this chain does not have",
        "Add it to the chain, or upgrade coatcheck.",
    )
