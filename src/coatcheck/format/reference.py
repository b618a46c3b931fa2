"""The reference: the small record that stays in the journal in place of an offloaded payload."""

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
    """Enough to find, verify and open an offloaded payload; says nothing about its content but its size.

    A reference that was parsed is not yet trusted: :meth:`Chain.open` checks the MAC before it does any I/O.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    suite: Annotated[int, Field(ge=0, le=255)]
    key_id: Annotated[bytes, Field(min_length=KEY_ID_LENGTH, max_length=KEY_ID_LENGTH)]
    run_tag: Annotated[bytes, Field(min_length=TAG_LENGTH, max_length=TAG_LENGTH)]
    object_id: _ObjectId
    size: Annotated[int, Field(ge=0, lt=2**49)]
    """Bytes of the payload."""
    store: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    """The alias of the store that holds the object; never a bucket, a path or a URL."""
    bases: Annotated[tuple[_ObjectId, ...], Field(max_length=255)] = ()
    """Every object that the payload is a delta against, so that all can be fetched at once."""
    mac: Annotated[bytes, Field(min_length=MAC_LENGTH, max_length=MAC_LENGTH)] = bytes(MAC_LENGTH)
    """Over :meth:`authenticated_bytes`, under the tenant's reference key."""

    def __str__(self) -> str:
        return self.to_text()

    def authenticated_bytes(self) -> bytes:
        """Everything but the MAC, as it is written."""
        return b"".join(
            (
                Prefix(REFERENCE, self.suite, self.key_id, self.run_tag).to_bytes(),
                self.object_id,
                size_to_bytes(self.size),
                name_to_bytes(self.store),
                object_ids_to_bytes(self.bases),
            )
        )

    def to_bytes(self) -> bytes:
        """The compact form that goes into the journal (``docs/wire-format.md``, "Reference").

        87 bytes with the alias ``default``, for a payload of up to 2 MiB without bases.
        """
        return self.authenticated_bytes() + self.mac

    @classmethod
    def from_bytes(cls, data: bytes) -> "Reference":
        """Read the compact form. Each reference has exactly one, so any other bytes are refused.

        Raises:
            FormatError: ``data`` is no reference of a version known here.
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
            raise reader.error("something follows its end")
        return reference

    def to_text(self) -> str:
        """The compact form in URL-safe base64 without padding (RFC 4648, section 5), for queues, logs and arguments.

        116 characters with the alias ``default``, for a payload of up to 2 MiB without bases. ``str()`` gives it too.
        """
        return base64.urlsafe_b64encode(self.to_bytes()).rstrip(b"=").decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> "Reference":
        """Read what :meth:`to_text` wrote. Each reference has exactly one text, so any other is refused.

        Raises:
            FormatError: ``text`` is no reference of a version known here. The message does not repeat it.
        """
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            data = b""
        # The standard library's decoder skips what it does not know.
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text or not data:
            raise FormatError(
                "malformed reference: it is not URL-safe base64 without padding",
                "Pass the whole text that str(reference) gave, and nothing else.",
            )
        return cls.from_bytes(data)
