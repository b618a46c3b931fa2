"""Values in rows, taken apart without making an object of any: nothing that a database says is imported or run."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT

from coatcheck.doctor.journal import Form, recognise
from coatcheck.doctor.threads import Value
from coatcheck.errors import FormatError
from coatcheck.format.shown import MARKER
from coatcheck.format.wire import is_ours
from coatcheck.integrations.langgraph.sealed import TYPE

METADATA: Final = "(metadata)"
_WHOLE: Final = "(checkpoint)"
_OPTIONS: Final = ormsgpack.OPT_NON_STR_KEYS
_CHANNELS: Final = "channel_values"


def value_of(channel: str, serializer: str | None, content: bytes | None, size: int | None = None) -> Value:
    """Return a value that has a column of its own.

    Args:
        channel: The channel's name.
        serializer: The type next to it; None for none.
        content: Its bytes; None for none.
        size: Bytes that the database takes for it, if not those of ``content``.
    """
    kind, data = serializer or "", content or b""
    taken = len(data) if size is None else size
    if "+" in kind:
        return Value(channel, data, taken, Form.ENCRYPTED, len(data), kind)
    if kind.partition(":")[0] == TYPE and is_ours(data):
        form, stands_for = recognise(data)
        return Value(channel, data, taken, form, stands_for, kind)
    return Value(channel, data, taken, Form.PLAIN, len(data), kind)


def values_in_checkpoint(serializer: str | None, content: bytes) -> tuple[Value, ...]:
    """Return the values in a whole checkpoint, as SQLite has it; only itself, if LangGraph has encrypted it.

    Raises:
        FormatError: It is damaged, or in a form that is not known here.
    """
    kind = serializer or ""
    if "+" in kind:
        return (value_of(_WHOLE, kind, content),)
    inner = kind.removeprefix(f"{TYPE}:")
    is_sealed = inner != kind
    try:
        if inner == "json":
            found = json.loads(content)
        elif inner == "msgpack":
            hook = _opened_snapshot if is_sealed else ormsgpack.Ext
            found = ormsgpack.unpackb(content, ext_hook=hook, option=_OPTIONS)
        else:
            raise FormatError(
                f"a checkpoint of the unknown type {kind!r}", "Read it with the release that wrote it."
            )
        values = found.get(_CHANNELS) or {}
        return tuple(_inside(str(channel), value, is_sealed=is_sealed) for channel, value in values.items())
    # ormsgpack's errors are ValueErrors; RecursionError: JSON may be nested arbitrarily deep.
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise FormatError("a checkpoint is damaged", "Find out who wrote it.") from None


def inline(channel: str, value: Any, size: int) -> Value:
    """Return a value that stands in the JSON of a checkpoint, as PostgreSQL has numbers and short texts."""
    kind, data = _packed(value)
    return Value(channel, data, size, Form.PLAIN, len(data), kind)


def metadata_of(content: bytes, size: int | None = None) -> Value:
    """Return the metadata of a checkpoint as a value.

    Args:
        content: The JSON.
        size: Bytes that the database takes for it, if not those of ``content``.

    Raises:
        FormatError: They are damaged.
    """
    found = parsed_metadata(content)
    taken = len(content) if size is None else size
    if MARKER in found:
        try:
            sealed = base64.b64decode(found[MARKER], b"-_", validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise FormatError("sealed metadata is damaged", "Find out who wrote it.") from None
        if is_ours(sealed):
            form, stands_for = recognise(sealed)
            return Value(METADATA, content, taken, form, stands_for)
    return Value(METADATA, content, taken, Form.PLAIN, len(content))


def parsed_metadata(content: bytes) -> Mapping[str, Any]:
    """Return metadata as a mapping. Raises as :func:`metadata_of`."""
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise FormatError("the metadata of a checkpoint are damaged", "Find out who wrote them.") from None
    if not isinstance(found, dict):
        raise FormatError("the metadata of a checkpoint are damaged", "Find out who wrote them.")
    return found


def packed(value: Any) -> bytes:
    """Return the payload of a value as a saver with a chain makes it: its type and its bytes."""
    kind, data = _packed(value)
    return payload(kind, data)


def payload(kind: str, data: bytes) -> bytes:
    """Return the payload of a value that stands in a database with its type."""
    return kind.encode() + b"\0" + data


def _inside(channel: str, value: Any, *, is_sealed: bool) -> Value:
    if is_sealed and isinstance(value, bytes):
        return value_of(channel, TYPE, value)
    kind, data = _packed(value)
    return Value(channel, data, len(data), Form.PLAIN, len(data), kind)


def _packed(value: Any) -> tuple[str, bytes]:
    if value is None:
        return "null", b""
    if isinstance(value, bytes):
        return "bytes", value
    return "msgpack", ormsgpack.packb(value, option=_OPTIONS)


def _opened_snapshot(tag: int, data: bytes) -> Any:
    """Return what stands in the snapshot of a ``DeltaChannel`` if it is encoded."""
    if tag == EXT_DELTA_SNAPSHOT:
        inside = ormsgpack.unpackb(data, ext_hook=ormsgpack.Ext, option=_OPTIONS)
        if isinstance(inside, bytes):
            return inside
    return ormsgpack.Ext(tag, data)
