"""What envelopes and references have in common on the wire (``docs/wire-format.md``)."""

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from coatcheck.errors import FormatError

MAGIC: Final = bytes.fromhex("c0a7c4ec")
"""The first four bytes of everything of ours. ``C0`` occurs in no UTF-8 text (RFC 3629, section 1)."""
VERSION: Final = 1
SUITES: Final = {0: "unsealed", 1: "AES-256-GCM, HKDF-SHA512, committed"}
"""Every suite that this version of the format defines."""
ENVELOPE: Final = 1
REFERENCE: Final = 2

_KIND_AT: Final = 5

KEY_ID_LENGTH: Final = 4
TAG_LENGTH: Final = 16
OBJECT_ID_LENGTH: Final = 32
MAC_LENGTH: Final = 16

_PREFIX: Final = struct.Struct(f">{len(MAGIC)}sBBB{KEY_ID_LENGTH}s{TAG_LENGTH}s")
_MAX_SIZE_BYTES: Final = 7
"""A size has at most 49 bits: 512 TiB."""


class Prefix(NamedTuple):
    """The 27 bytes that every envelope and reference starts with."""

    kind: int
    suite: int
    key_id: bytes
    run_tag: bytes

    def to_bytes(self) -> bytes:
        """Magic, version, kind, suite, key id, run tag."""
        return _PREFIX.pack(MAGIC, VERSION, *self)


def is_ours(data: bytes) -> bool:
    """Whether ``data`` starts like an envelope or a reference of any version."""
    return data[: len(MAGIC)] == MAGIC


def is_reference(data: bytes) -> bool:
    """Whether ``data``, which is ours, says that it is a reference."""
    return data[_KIND_AT : _KIND_AT + 1] == bytes((REFERENCE,))


def size_to_bytes(size: int) -> bytes:
    """An unsigned LEB128 number, in the fewest bytes."""
    out = bytearray()
    while size > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


class Reader:
    """Takes fields off the front of ``data``; every one that is not there is a :class:`FormatError`."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.at = 0
        self._what = what

    def error(self, why: str) -> FormatError:
        """An error that says what is malformed, and why."""
        return FormatError(
            f"malformed {self._what}: {why}",
            "It was damaged or truncated, or it was never written by coatcheck.",
        )

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        field = self.data[self.at : self.at + count]
        if len(field) != count:
            raise self.error("it ends too early")
        self.at += count
        return field

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def size(self) -> int:
        """The next LEB128 number; refuses one that is not in the fewest bytes."""
        value = 0
        for position in range(_MAX_SIZE_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:  # noqa: PLR2004 - the last byte has its high bit clear
                if byte == 0 and position:
                    raise self.error("a number is written with more bytes than it needs")
                return value
        raise self.error("a number is too large")

    def name(self) -> str:
        """The next ASCII string: a length byte, then that many characters of ``a-z 0-9 - _``."""
        field = self.take(self.byte())
        if not 0 < len(field) <= MAX_NAME_LENGTH or not _NAME_BYTES.issuperset(field):
            raise self.error("a name is empty, too long, or has characters that no name has")
        return field.decode("ascii")

    def prefix(self, kind: int) -> Prefix:
        """The common prefix, which must be of this ``kind``."""
        magic, version, found, suite, key_id, run_tag = _PREFIX.unpack(self.take(_PREFIX.size))
        if magic != MAGIC:
            raise self.error("it does not start with the magic bytes")
        if version != VERSION:
            raise FormatError(
                f"this {self._what} has format version {version}; this release reads version {VERSION}",
                "Upgrade coatcheck on the side that reads.",
            )
        if found != kind:
            raise self.error(f"its kind is {found}, not {kind}")
        return Prefix(kind, suite, key_id, run_tag)

    def object_ids(self) -> tuple[bytes, ...]:
        """The next list of object ids: a count byte, then 32 bytes each."""
        ids = self.take(self.byte() * OBJECT_ID_LENGTH)
        return tuple(ids[at : at + OBJECT_ID_LENGTH] for at in range(0, len(ids), OBJECT_ID_LENGTH))


MAX_NAME_LENGTH: Final = 32
NAME_PATTERN: Final = rf"^[a-z0-9_-]{{1,{MAX_NAME_LENGTH}}}$"
"""Codec names and store aliases."""
_NAME_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")


@lru_cache(maxsize=256)
def name_to_bytes(name: str) -> bytes:
    """A length byte, then the characters."""
    return bytes((len(name),)) + name.encode("ascii")


def object_ids_to_bytes(object_ids: tuple[bytes, ...]) -> bytes:
    """A count byte, then 32 bytes each."""
    return bytes((len(object_ids),)) + b"".join(object_ids)
