"""Encoded values as they stand in a saver's database, and the serializer that writes them there.

A saver serializes values in one of two ways: each by itself, or the whole checkpoint in one. Both have a type in the
database, next to the bytes. An encoded value has a type that no other serializer knows, so that a saver without a chain
fails where it meets one, and never takes it for a value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from coatcheck.errors import FormatError

TYPE: Final = "coatcheck"
"""Type of an encoded value. There is no plus sign in it, by which LangGraph's ``EncryptedSerializer`` knows its own."""
_AROUND: Final = f"{TYPE}:"
"""Start of the type of something that has encoded values inside; the type without them follows."""
_CHANNELS: Final = "channel_values"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value that went through the chain."""

    data: bytes
    """An envelope or a reference; the payload itself if a chain without keys left it as it is."""


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return ``value`` with what can be an encoded value in it changed.

    That is the value itself, the value of a ``DeltaChannel``'s snapshot, or the elements of a list, as of the messages that a
    saver gathers from an older format.
    """
    if isinstance(value, _DeltaSnapshot):
        return _DeltaSnapshot(change(value.value))
    if isinstance(value, list):
        return [change(item) for item in value]
    return change(value)


class ClaimCheckSerde(SerializerProtocol):
    """The serializer of a saver below a chain. Reads what the saver's own serializer wrote as well.

    Args:
        own: The saver's own serializer.
    """

    def __init__(self, own: SerializerProtocol) -> None:
        self.own = own
        self.is_encrypting = isinstance(own, EncryptedSerializer)
        # What is encrypted has no likeness, so that nothing could be compressed or stored as a delta.
        self.bare: SerializerProtocol = own.serde if isinstance(own, EncryptedSerializer) else own

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the type and bytes of an encoded value, of a checkpoint with such values, or of anything else."""
        if isinstance(obj, Sealed):
            return TYPE, obj.data
        found = False

        def take_out(item: Any) -> Any:
            nonlocal found
            if not isinstance(item, Sealed):
                return item
            found = True
            return item.data

        bare = _inside(obj, take_out)
        if not found:
            return self.own.dumps_typed(obj)
        kind, data = self.bare.dumps_typed(bare)
        return _AROUND + kind, data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return what :meth:`dumps_typed` was given, or what the saver's own serializer reads."""
        kind, content = data
        if kind == TYPE:
            return Sealed(bytes(content))
        if kind.startswith(_AROUND):
            return _inside(self.bare.loads_typed((kind.removeprefix(_AROUND), content)), _put_in)
        return self.own.loads_typed(data)

    def pack(self, value: Any) -> bytes:
        """Return the payload of a value: its type and its bytes."""
        kind, data = self.bare.dumps_typed(value)
        return kind.encode() + b"\0" + data

    def unpack(self, payload: bytes) -> Any:
        """Return the value of a payload.

        Raises:
            FormatError: It is not from :meth:`pack`.
        """
        kind, end, data = payload.partition(b"\0")
        if not end:
            raise FormatError("the payload is not a value of LangGraph", "Find out who wrote it.")
        return self.bare.loads_typed((kind.decode(), data))


def _put_in(item: Any) -> Any:
    return Sealed(item) if isinstance(item, bytes) else item


def _inside(obj: Any, change: Callable[[Any], Any]) -> Any:
    """Return ``obj`` with the encoded values in it changed, if it can have any."""
    if isinstance(obj, dict) and isinstance(values := obj.get(_CHANNELS), dict):
        return {**obj, _CHANNELS: {name: mapped(value, change) for name, value in values.items()}}
    return mapped(obj, change) if isinstance(obj, list | _DeltaSnapshot) else obj
