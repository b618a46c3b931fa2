"""The records in which wrapped keys are kept."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from coatcheck.errors import FormatError

MAX_RECORD = 16 * 1024
"""Bytes; real ones have a few hundred."""

_KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]


def unreadable(name: str) -> FormatError:
    """Return the error for a record that is none of ours, or of a later release."""
    return FormatError(
        "a record of a wrapped key cannot be read",
        "Restore it from a backup of the store, or upgrade coatcheck.",
        name,
    )


class _Record(BaseModel):
    # What a later release adds must not keep this one from reading it.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    version: Literal[1] = 1
    key_id: _KeyId
    """Hexadecimal, as in headers."""

    def to_bytes(self) -> bytes:
        """JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            FormatError: ``data`` is no such record, or one of a later version.
        """
        try:
            if len(data) <= MAX_RECORD:
                return cls.model_validate_json(data)
        except ValidationError:
            pass
        # Out here, so that the original does not hang on to it: it quotes what it was given.
        raise unreadable(name)


class KeyRecord(_Record):
    """A wrapped key, and by what it can be unwrapped. Nothing in it is secret, and nothing in it is trusted.

    The key is bound to the label and to the record's name when it is wrapped, and its id is a fingerprint of itself, so a record that was
    moved, exchanged or edited unwraps to nothing.
    """

    label: Annotated[str, Field(max_length=64)]
    """The label of the store that it was wrapped for."""
    service: Annotated[str, Field(max_length=512)]
    """The name of the :class:`~coatcheck.keys.service.KeyService` key that wrapped it."""
    wrapped: bytes
    created_at: AwareDatetime
    """By the clock of the process that made the key."""


class Tombstone(_Record):
    """What is left of a key that was destroyed on purpose."""

    destroyed_at: AwareDatetime
