"""An agent's state as one payload, and back: what comes back equals what went in, or it is refused on the way in.

Bytes stay bytes. Everything else is JSON (``docs/wire-format.md``, "Checkpoints").
"""

import dataclasses
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from coatcheck.errors import FormatError

Kind = Literal["bytes", "json"]

_JSON_STARTS: Final = frozenset(b'{["-0123456789tfnNI')
"""What JSON without leading space can begin with; N and I begin NaN and Infinity."""
_ESCAPE: Final = b"\0"
"""In front of bytes that begin with it, or as JSON does. All others are stored as they are, which spares a copy."""
_MAX_DEPTH: Final = 200
"""Lists and dicts inside each other: as deep as pydantic's parser goes."""
_INT_BOUND: Final = 10**4299
"""Integers below it in size have at most 4,299 digits: as many as pydantic's parser takes, sign included."""
_CONTAINERS: Final = frozenset({dict, list})
_JSON_TYPES: Final = _CONTAINERS | {str, int, float, bool, type(None)}

_TODO = "A state is bytes, JSON values (dict with str keys, list, str, int, float, bool, None), a pydantic model or a dataclass."


def pack(state: object) -> bytes:
    """The payload of a state, as it is now: bytes, JSON values, a pydantic model or a dataclass.

    JSON values are looked through for what JSON does not keep; models and dataclasses are read back and compared, since
    they may leave out what they hold.

    Raises:
        FormatError: ``state`` would not come back equal. The message says nothing of what it holds.
    """
    if isinstance(state, bytes | bytearray | memoryview):
        data = bytes(state)
        return _ESCAPE + data if data[:1] == _ESCAPE or kind_of(data) == "json" else data
    try:
        if not _is_typed(state):
            payload = to_json(state)
            _check_values(state)
            return payload
        kind: Any = type(state)
        adapter = _adapter(kind)
        payload = adapter.dump_json(state, round_trip=True, by_alias=True, warnings=False)
        comes_back = bool(adapter.validate_json(payload) == state)
    except ValueError:
        # Not chained: it can quote the state.
        raise FormatError(
            f"the state, a {type(state).__name__}, does not survive being written as JSON", _TODO
        ) from None
    if not comes_back:
        raise FormatError(
            f"the state, a {type(state).__name__}, does not come back equal from its own JSON",
            "Fields must not be left out, read under other names than written, or hold more than they are declared to.",
        )
    return payload


def unpack(payload: bytes, into: Any = None) -> Any:
    """The state in a payload of :func:`pack`.

    Args:
        payload: What :func:`pack` gave.
        into: A pydantic model, a dataclass, or whatever else pydantic validates; None for bytes and JSON values.

    Raises:
        FormatError: The state does not fit ``into``, or ``payload`` is none of :func:`pack`.
    """
    if kind_of(payload) == "bytes":
        if into not in (None, bytes):
            raise FormatError("the state is bytes, not JSON", "Restore it without into.")
        return payload[1:] if payload[:1] == _ESCAPE else payload
    try:
        return from_json(payload) if into is None else _adapter(into).validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]["type"]
        raise FormatError(
            f"the state does not fit {error.title}: mistakes: {error.error_count()}, the first: {first}",
            "Restore it without into to see what it holds.",
        ) from None
    except ValueError:
        raise FormatError("the state is not JSON", "It was not saved as a checkpoint.") from None


def kind_of(payload: bytes) -> Kind:
    """What a payload of :func:`pack` holds."""
    return "json" if payload and payload[0] in _JSON_STARTS else "bytes"


def size_of(payload: bytes) -> int:
    """Bytes of the state in a payload of :func:`pack`."""
    return len(payload) - payload.startswith(_ESCAPE)


def _is_typed(state: object) -> bool:
    return isinstance(state, BaseModel) or (dataclasses.is_dataclass(state) and not isinstance(state, type))


@lru_cache(maxsize=256)
def _adapter(into: Any) -> TypeAdapter[Any]:
    return TypeAdapter(into)


def _check_values(state: object) -> None:
    """Refuse what JSON gives back as something else: tuples, keys that are no strings, objects.

    Level by level, and by the set of types in each list and dict: a list of a million floats takes milliseconds.
    """
    level: list[Any] = [[state]]
    for _ in range(_MAX_DEPTH + 1):
        inside: list[Any] = []
        for container in level:
            values = container.values() if type(container) is dict else container
            types = set(map(type, values))
            strange = types - _JSON_TYPES
            if type(container) is dict:
                strange |= set(map(type, container)) - {str}
            if strange:
                names = ", ".join(sorted(kind.__name__ for kind in strange))
                raise FormatError(f"the state holds what JSON does not keep: {names}", _TODO)
            if int in types and any(
                type(value) is int and not -_INT_BOUND < value < _INT_BOUND for value in values
            ):
                raise FormatError("the state holds an integer of more than 4,299 digits", "Save it as text.")
            if types & _CONTAINERS:
                inside += (value for value in values if type(value) in _CONTAINERS)
        if not inside:
            return
        level = inside
    raise FormatError(f"the state is more than {_MAX_DEPTH} levels deep", "Save it as bytes.")
