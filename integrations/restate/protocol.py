"""The part of Restate's service protocol that the durability gate needs.

A stream is a sequence of messages, each with a header of eight bytes: its type, its flags, and the length of its body,
which is protocol buffers (github.com/restatedev/service-protocol).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from restate.vm import VMWrapper

from coatcheck.errors import FormatError

MOST_INLINE: Final = 32 * 2**20 - 64 * 1024
"""Most bytes of a value: the server accepts messages of 32 MiB (RT0003), and the rest of one is far below 64 KiB."""

_HEADER: Final = struct.Struct(">II")
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
"""Wire types (protobuf.dev/programming-guides/encoding)."""


def substitute(stream: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """Return whole messages, with each value that is a key of ``values`` replaced.

    Raises:
        FormatError: ``stream`` is not made of whole messages.
    """
    if not any(old in stream for old in values):
        return stream
    out: list[bytes] = []
    at = 0
    while at < len(stream):
        if len(stream) - at < _HEADER.size:
            raise _malformed()
        kind, length = _HEADER.unpack_from(stream, at)
        at += _HEADER.size
        message = stream[at : at + length]
        if len(message) != length:
            raise _malformed()
        at += length
        exchanged = _exchange(message, values)
        out += _HEADER.pack(kind, len(exchanged)), exchanged
    return b"".join(out)


def error_message(headers: Sequence[tuple[str, str]], text: str) -> bytes:
    """Return the message that ends an attempt and makes the server retry, in the version that the request's headers ask for."""
    machine = VMWrapper(list(headers))
    machine.notify_error(text, "")
    return bytes(machine.take_output())


def _exchange(message: bytes, values: Mapping[bytes, bytes]) -> bytes:
    if not any(old in message for old in values):
        return message
    out: list[bytes] = []
    for start, content, end in _fields(message):
        if content is None:
            out.append(message[start:end])
            continue
        field = message[end - content : end]
        new = values.get(field) if len(field) <= _longest(values) else None
        if new is None:
            try:
                new = _exchange(field, values)
            except FormatError:  # a text or a user's bytes: no message
                new = field
        key_end = _varint(message, start)[1]
        out += message[start:key_end], _to_varint(len(new)), new
    return b"".join(out)


def _fields(message: bytes) -> Iterator[tuple[int, int | None, int]]:
    """Yield for each field its start, the length of its bytes (None if it is a number), and its end."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        length = None
        match key & 7:
            case wire if wire == _VARINT:
                at = _varint(message, at)[1]
            case wire if wire == _FIXED_64:
                at += 8
            case wire if wire == _FIXED_32:
                at += 4
            case wire if wire == _BYTES:
                length, at = _varint(message, at)
                at += length
            case _:
                raise _malformed()
        if at > len(message):
            raise _malformed()
        yield start, length, at


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and its end."""
    number = shift = 0
    while at < len(message) and shift < 64:  # noqa: PLR2004 - a varint has at most 64 bits
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004 - the high bit says that another byte follows
            return number, at
        shift += 7
    raise _malformed()


def _to_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _longest(values: Mapping[bytes, bytes]) -> int:
    return max(map(len, values))


def _malformed() -> FormatError:
    return FormatError(
        "Restate's SDK sent a message that this release does not understand",
        "Nothing of it was sent. Use a restate-sdk that this release was tested with.",
    )
