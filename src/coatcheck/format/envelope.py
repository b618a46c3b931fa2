"""The envelope: an encoded and sealed payload, with everything that a reader needs to decode it."""

from typing import NamedTuple

from coatcheck.format.wire import (
    ENVELOPE,
    Prefix,
    Reader,
    name_to_bytes,
    object_ids_to_bytes,
    size_to_bytes,
)

INLINE = b"\x00"
"""The context of an envelope in the journal itself."""


def object_context(object_id: bytes) -> bytes:
    """Return the context of an envelope that is stored under this id, so that no object can pass for another."""
    return b"\x01" + object_id


class EnvelopeHeader(NamedTuple):
    """The part before the sealed bytes. All of it is authenticated."""

    suite: int
    key_id: bytes
    run_tag: bytes
    codecs: tuple[str, ...]
    """Names of the applied codecs, in order; undo them from last to first."""
    size: int
    """Bytes of the payload, before the first codec."""
    bases: tuple[bytes, ...] = ()
    """Ids of the objects of the same scope that the payload is built on, nearest first: each is a delta against the next."""

    def to_bytes(self) -> bytes:
        """Return the header in its binary form (``docs/wire-format.md``, "Envelope")."""
        return b"".join(
            (
                Prefix(ENVELOPE, self.suite, self.key_id, self.run_tag).to_bytes(),
                bytes((len(self.codecs),)),
                *map(name_to_bytes, self.codecs),
                size_to_bytes(self.size),
                object_ids_to_bytes(self.bases),
            )
        )


class Body(NamedTuple):
    """An opened object: an authentic payload before the codecs are undone."""

    object_id: bytes
    header: EnvelopeHeader
    data: bytes | memoryview


class Envelope(NamedTuple):
    """A parsed envelope, not yet opened: nothing in it is verified."""

    header: EnvelopeHeader
    header_bytes: bytes
    sealed: memoryview
    """The sealed body, after the header."""

    @classmethod
    def from_bytes(cls, data: bytes) -> "Envelope":
        """Parse ``data`` without copying the sealed part.

        Raises:
            FormatError: ``data`` is not an envelope of a known version.
        """
        reader = Reader(data, "envelope")
        prefix = reader.prefix(ENVELOPE)
        codecs = tuple(reader.name() for _ in range(reader.byte()))
        header = EnvelopeHeader(
            prefix.suite, prefix.key_id, prefix.run_tag, codecs, reader.size(), reader.object_ids()
        )
        return cls(header, data[: reader.at], memoryview(data)[reader.at :])
