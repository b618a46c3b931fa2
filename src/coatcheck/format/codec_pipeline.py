"""The codecs of a chain, in both directions."""

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
    """Names of the codecs that gained something, in order."""


class CodecPipeline:
    """Applies codecs in order, and undoes those that an envelope names. Safe to use from several threads.

    Args:
        codecs: The codecs in the order of the chain.
        max_payload: Bytes that no intermediate result may exceed.

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
                raise ConfigError(f"{name!r} is not a codec name", "Use 1 to 32 characters of a-z 0-9 _ -.")

    @property
    def makes_deltas(self) -> bool:
        """True if :meth:`encode_delta` can return a delta."""
        return self._delta is not None

    def encode(self, data: bytes) -> Encoded:
        """Return ``data`` encoded as a whole."""
        return self._apply(self._codecs, data)

    def encode_delta(self, data: bytes, base: bytes, place: int) -> Encoded | None:
        """Return ``data`` encoded as its difference from ``base``; None if that is not possible.

        Args:
            data: The payload.
            base: An earlier payload of the same scope.
            place: The payload's place in its delta chain, which is stored with it.
        """
        delta = self._delta.encode_delta(data, base) if self._delta else None
        if delta is None or self._delta is None:
            return None
        body, names = self._apply(self._codecs[1:], size_to_bytes(place) + delta)
        return Encoded(body, (self._delta.delta_name, *names))

    def decode(
        self, body: bytes | memoryview, header: EnvelopeHeader, base: bytes | None
    ) -> tuple[bytes, int]:
        """Return the payload, and its place in its delta chain.

        Args:
            body: The sealed bytes.
            header: The header of their envelope; names the codecs and the payload's size.
            base: The payload of the first of ``header.bases``; None if there is none.

        Raises:
            FormatError: A codec is not in this chain, or its result is not as the header says.
            LimitExceeded: The payload would be larger than the header says.
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
                f"the payload has {len(body)} bytes, its header says {header.size}",
                "Two incompatible codecs share a name; use the one that it was written with.",
            )
        return bytes(body), place

    def decode_chain(self, bodies: Sequence[Body], base: bytes | None) -> tuple[bytes, int]:
        """Return the payload of the first of some objects, and its place in its delta chain.

        Args:
            bodies: At least one; each is a delta against the next.
            base: The payload that the last one is a delta against; None if that one is whole.

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
        """Decode in one call of the codec; None if there are more codecs, or on an error, for which to decode one by one."""
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
        """Return the payload's place in its delta chain, without decoding it. Raises as :meth:`decode`.

        Args:
            body: The sealed bytes.
            header: The header of their envelope.
        """
        if not header.bases:
            return 0
        self._check_count(header)
        for name in reversed(header.codecs[1:]):
            if name not in self._by_name:
                raise _unknown(name)
            body = self._by_name[name].decode(body, self._max_payload)
        return _take_place(Reader(bytes(body), "delta"), header)

    def _check_count(self, header: EnvelopeHeader) -> None:
        # Each codec may return as many bytes as a payload may have, so a forger must not choose their number.
        if len(header.codecs) > max(1, len(self._codecs)):
            raise FormatError(
                f"the payload was written with {len(header.codecs)} codecs, this chain has {len(self._codecs)}",
                "Add the missing codecs to the chain.",
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
        raise reader.error("its place in its delta chain does not fit its bases")
    return place


def _unknown(name: str) -> FormatError:
    return FormatError(
        f"the payload needs the codec {name!r}, which is not in this chain",
        "Add it to the chain, or upgrade coatcheck.",
    )
