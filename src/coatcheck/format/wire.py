"""Wire format shared by envelopes and references (``docs/wire-format.md``)."""

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from coatcheck.errors import FormatError

MAGIC: Final = bytes.fromhex("c0a7c4ec")
"""First four bytes of envelopes and references. ``C0`` occurs in no UTF-8 text (RFC 3629, section 1)."""
VERSION: Final = 1
SUITES: Final = {0: "unsealed", 1: "AES-256-GCM, HKDF-SHA512, committed"}
"""All suites of this version of the format."""
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
    """The first 27 bytes of every envelope and reference."""

    kind: int
    suite: int
    key_id: bytes
    run_tag: bytes

    def to_bytes(self) -> bytes:
        """Return magic, version, kind, suite, key id and run tag."""
        return _PREFIX.pack(MAGIC, VERSION, *self)


def is_ours(data: bytes) -> bool:
    """Return True if ``data`` starts like an envelope or a reference of any version."""
    return data[: len(MAGIC)] == MAGIC


def is_reference(data: bytes) -> bool:
    """Return True if ``data``, for which :func:`is_ours` is true, claims to be a reference."""
    return data[_KIND_AT : _KIND_AT + 1] == bytes((REFERENCE,))


def size_to_bytes(size: int) -> bytes:
    """Return ``size`` as an unsigned LEB128 number, in the fewest bytes."""
    out = bytearray()
    while size > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


class Reader:
    """Reads fields from the front of ``data``. All methods raise :class:`FormatError` if the field is malformed.

    Args:
        data: The bytes.
        what: The name of the whole in errors: "envelope".
    """

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.at = 0
        self._what = what

    def error(self, why: str) -> FormatError:
        """Return an error with the reason ``why`` the data is malformed."""
        return FormatError(
            f"malformed {self._what}: {why}",
            "It is damaged or truncated, or was not written by coatcheck.",
        )

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        field = self.data[self.at : self.at + count]
        if len(field) != count:
            raise self.error("it is too short")
        self.at += count
        return field

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def size(self) -> int:
        """Return the next LEB128 number, which must be in the fewest bytes."""
        value = 0
        for position in range(_MAX_SIZE_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:  # noqa: PLR2004 - the last byte has its high bit clear
                if byte == 0 and position:
                    raise self.error("a number has more bytes than it needs")
                return value
        raise self.error("a number is too large")

    def name(self) -> str:
        """Return the next ASCII string: a length byte, then that many characters of ``a-z 0-9 - _``."""
        field = self.take(self.byte())
        if not 0 < len(field) <= MAX_NAME_LENGTH or not _NAME_BYTES.issuperset(field):
            raise self.error("a name is empty, too long, or has invalid characters")
        return field.decode("ascii")

    def prefix(self, kind: int) -> Prefix:
        """Return the common prefix, which must be of this ``kind``."""
        magic, version, found, suite, key_id, run_tag = _PREFIX.unpack(self.take(_PREFIX.size))
        if magic != MAGIC:
            raise self.error("it does not start with the magic bytes")
        if version != VERSION:
            raise FormatError(
                f"the {self._what} has format version {version}; this release reads version {VERSION}",
                "Upgrade coatcheck on the reading side.",
            )
        if found != kind:
            raise self.error(f"its kind is {found}, not {kind}")
        return Prefix(kind, suite, key_id, run_tag)

    def object_ids(self) -> tuple[bytes, ...]:
        """Return the next list of object ids: a count byte, then 32 bytes each."""
        ids = self.take(self.byte() * OBJECT_ID_LENGTH)
        return tuple(ids[at : at + OBJECT_ID_LENGTH] for at in range(0, len(ids), OBJECT_ID_LENGTH))


MAX_NAME_LENGTH: Final = 32
NAME_PATTERN: Final = rf"^[a-z0-9_-]{{1,{MAX_NAME_LENGTH}}}$"
"""Pattern of codec names and store aliases."""
_NAME_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")


@lru_cache(maxsize=256)
def name_to_bytes(name: str) -> bytes:
    """Return a length byte, then the characters."""
    return bytes((len(name),)) + name.encode("ascii")


def object_ids_to_bytes(object_ids: tuple[bytes, ...]) -> bytes:
    """Return a count byte, then 32 bytes for each id."""
    return bytes((len(object_ids),)) + b"".join(object_ids)
