"""The reference: the few bytes in the journal that stand for an offloaded payload."""

import base64
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from coatcheck.errors import FormatError
from coatcheck.format.wire import (
    KEY_ID_LENGTH,
    MAC_LENGTH,
    NAME_PATTERN,
    OBJECT_ID_LENGTH,
    REFERENCE,
    TAG_LENGTH,
    Prefix,
    Reader,
    name_to_bytes,
    object_ids_to_bytes,
    size_to_bytes,
)

_ObjectId = Annotated[bytes, Field(min_length=OBJECT_ID_LENGTH, max_length=OBJECT_ID_LENGTH)]


class Reference(BaseModel):
    """All that is needed to find, verify and open an offloaded payload; reveals nothing about its content but its size.

    A parsed reference is not yet trusted: :meth:`Chain.open` checks the MAC before it does any I/O.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    suite: Annotated[int, Field(ge=0, le=255)]
    key_id: Annotated[bytes, Field(min_length=KEY_ID_LENGTH, max_length=KEY_ID_LENGTH)]
    run_tag: Annotated[bytes, Field(min_length=TAG_LENGTH, max_length=TAG_LENGTH)]
    object_id: _ObjectId
    size: Annotated[int, Field(ge=0, lt=2**49)]
    """Bytes of the payload."""
    store: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    """The alias of the store with the object; never a bucket, a path or a URL."""
    bases: Annotated[tuple[_ObjectId, ...], Field(max_length=255)] = ()
    """All objects that the payload is built on, so that they can be fetched at once."""
    mac: Annotated[bytes, Field(min_length=MAC_LENGTH, max_length=MAC_LENGTH)] = bytes(MAC_LENGTH)
    """Over :meth:`authenticated_bytes`, under the tenant's reference key."""

    def __str__(self) -> str:
        return self.to_text()

    def authenticated_bytes(self) -> bytes:
        """Return the binary form without the MAC."""
        prefix = Prefix(REFERENCE, self.suite, self.key_id, self.run_tag)
        return unsigned_reference(prefix, self.object_id, self.size, self.store, self.bases)

    def to_bytes(self) -> bytes:
        """Return the binary form for the journal (``docs/wire-format.md``, "Reference").

        It has 87 bytes with the alias ``default``, for a payload of up to 2 MiB without bases.
        """
        return self.authenticated_bytes() + self.mac

    @classmethod
    def from_bytes(cls, data: bytes) -> "Reference":
        """Read the binary form. Each reference has exactly one; any other bytes are refused.

        Raises:
            FormatError: ``data`` is not a reference of a known version.
        """
        reader = Reader(data, "reference")
        prefix = reader.prefix(REFERENCE)
        reference = cls(
            suite=prefix.suite,
            key_id=prefix.key_id,
            run_tag=prefix.run_tag,
            object_id=reader.take(OBJECT_ID_LENGTH),
            size=reader.size(),
            store=reader.name(),
            bases=reader.object_ids(),
            mac=reader.take(MAC_LENGTH),
        )
        if reader.at != len(data):
            raise reader.error("there are bytes after its end")
        return reference

    def to_text(self) -> str:
        """Return the binary form in URL-safe base64 without padding (RFC 4648, section 5), for queues, logs and arguments.

        It has 116 characters with the alias ``default``, for a payload of up to 2 MiB without bases. Same as ``str()``.
        """
        return base64.urlsafe_b64encode(self.to_bytes()).rstrip(b"=").decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> "Reference":
        """Read the output of :meth:`to_text`. Each reference has exactly one text; any other is refused.

        Raises:
            FormatError: ``text`` is not a reference of a known version. The message does not contain it.
        """
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            data = b""
        # The standard library's decoder skips unknown characters.
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text or not data:
            raise FormatError(
                "malformed reference: it is not URL-safe base64 without padding",
                "Pass exactly the text that str(reference) returned.",
            )
        return cls.from_bytes(data)


def unsigned_reference(
    prefix: Prefix, object_id: bytes, size: int, store: str, bases: tuple[bytes, ...]
) -> bytes:
    """Return a reference's binary form without its MAC, which comes last.

    Args:
        prefix: Its first bytes, with the suite, the key and the run.
        object_id: The object's id.
        size: Bytes of the payload.
        store: The alias of the store with the object.
        bases: All objects that the payload is built on.
    """
    return b"".join(
        (
            prefix.to_bytes(),
            object_id,
            size_to_bytes(size),
            name_to_bytes(store),
            object_ids_to_bytes(bases),
        )
    )
