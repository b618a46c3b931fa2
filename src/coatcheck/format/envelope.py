"""The envelope: a payload after the codecs, sealed, with all that a reader needs to undo both."""

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
"""The context of an envelope that stands in the journal itself."""


def object_context(object_id: bytes) -> bytes:
    """The context of an envelope that is kept as the object with this id: no object can pass for another."""
    return b"\x01" + object_id


class EnvelopeHeader(NamedTuple):
    """What stands before the sealed bytes. All of it is authenticated."""

    suite: int
    key_id: bytes
    run_tag: bytes
    codecs: tuple[str, ...]
    """Names of the codecs that were applied, in order; undo them from the last to the first."""
    size: int
    """Bytes of the payload, before the first codec."""
    bases: tuple[bytes, ...] = ()
    """Ids of the objects of the same scope that it is a delta against: the nearest first, each one's own after it."""

    def to_bytes(self) -> bytes:
        """The header as it is written (``docs/wire-format.md``, "Envelope")."""
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
    """What the envelope of an object held: a payload as the codecs left it. It is authentic."""

    object_id: bytes
    header: EnvelopeHeader
    data: bytes | memoryview


class Envelope(NamedTuple):
    """An envelope taken apart, not yet opened: nothing in it has been verified."""

    header: EnvelopeHeader
    header_bytes: bytes
    sealed: memoryview
    """What :meth:`Sealer.seal` wrote."""

    @classmethod
    def from_bytes(cls, data: bytes) -> "Envelope":
        """Take ``data`` apart without copying the sealed part.

        Raises:
            FormatError: ``data`` is no envelope of a version known here.
        """
        reader = Reader(data, "envelope")
        prefix = reader.prefix(ENVELOPE)
        codecs = tuple(reader.name() for _ in range(reader.byte()))
        header = EnvelopeHeader(
            prefix.suite, prefix.key_id, prefix.run_tag, codecs, reader.size(), reader.object_ids()
        )
        return cls(header, data[: reader.at], memoryview(data)[reader.at :])
