"""Conversion of an agent's state to a payload and back. A state that would not come back equal is refused when it is saved.

Bytes stay bytes. Everything else is JSON (``docs/wire-format.md``, "Checkpoints").
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache, partial
from types import GenericAlias
from typing import Any, Final, Literal, NoReturn, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from coatcheck.errors import FormatError
from coatcheck.format.likeness import difference

Kind = Literal["bytes", "json"]

_JSON_STARTS: Final = frozenset(b'{["-0123456789tfnNI')
"""First bytes of JSON without leading space; N and I begin NaN and Infinity."""
_ESCAPE: Final = b"\0"
"""Put before bytes that begin with it, or like JSON. All other bytes are stored unchanged, which saves a copy."""
_MAX_DEPTH: Final = 200
"""Levels of nested lists and dicts: the limit of pydantic's parser."""
_INT_BOUND: Final = 10**4299
"""Absolute values below it have at most 4,299 digits: the limit of pydantic's parser, which counts the sign."""
_CONTAINERS: Final = frozenset({dict, list})
_JSON_TYPES: Final = _CONTAINERS | {str, int, float, bool, type(None)}

_TODO: Final = (
    "A state must be bytes, JSON values (dict with str keys, list, str, int, float, bool, None), a pydantic model, a"
    " dataclass, or a list or dict of one type of those; for other types pass as_type=..."
)
_LEFT_OUT: Final = "Fields must not be excluded, read under other names than written, or contain more than their types declare."


def pack(state: object, as_type: Any = None) -> bytes:
    """Return the payload of a state.

    JSON values are searched for values that JSON does not preserve. Everything else is read back and compared, field by
    field and by type, since it may leave something out.

    Args:
        state: Bytes, JSON values, a pydantic model, a dataclass, or a list or dict of one type of those.
        as_type: The type to write and read it as, if its own type does not say enough.

    Raises:
        FormatError: ``state`` would not come back equal, or ``as_type`` cannot be written as JSON. The message names the
            field, but not its content.
    """
    if as_type is None:
        if isinstance(state, bytes | bytearray | memoryview):
            data = bytes(state)
            return _ESCAPE + data if data[:1] == _ESCAPE or kind_of(data) == "json" else data
        if not _is_typed(state):
            payload = _plain(state)
            strange = _strange(state)
            if not strange:
                return payload
            as_type = _type_of(state) if all(map(_is_typed_class, strange)) else None
            if as_type is None:
                _refuse(
                    state,
                    f"types that JSON does not preserve: {', '.join(sorted(kind.__name__ for kind in strange))}",
                )
    return _typed(state, type(state) if as_type is None else as_type)


def unpack(payload: bytes, into: Any = None) -> Any:
    """Return the state in a payload of :func:`pack`.

    Args:
        payload: The output of :func:`pack`.
        into: A pydantic model, a dataclass, or any type that pydantic validates; None for bytes and JSON values.

    Raises:
        FormatError: The state does not fit ``into``, or ``payload`` is not from :func:`pack`. The message names the field.
    """
    if kind_of(payload) == "bytes":
        if into not in (None, bytes):
            raise FormatError("the state is bytes, not JSON", "Restore it without into.")
        return payload[1:] if payload[:1] == _ESCAPE else payload
    try:
        return from_json(payload) if into is None else _adapter(into).validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise FormatError(
            f"the state does not fit {error.title}: {error.error_count()} errors, the first"
            f"{_at(_path(first['loc'], _adapter(into)))}: {first['type']}",
            "Give the field a default or a validator for older states, or restore the state without into to inspect it.",
        ) from None
    except FormatError:
        raise
    except ValueError:
        raise FormatError("the state is not JSON", "It was not saved as a checkpoint.") from None
    except Exception as error:  # noqa: BLE001 - an error of the caller's validator can quote the state
        raise FormatError(
            f"a validator of {_name_of(into)} failed with {type(error).__name__}",
            "Restore the state without into to inspect it.",
        ) from None


def kind_of(payload: bytes) -> Kind:
    """Return the kind of state in a payload of :func:`pack`."""
    return "json" if payload and payload[0] in _JSON_STARTS else "bytes"


def size_of(payload: bytes) -> int:
    """Return the size in bytes of the state in a payload of :func:`pack`."""
    return len(payload) - payload.startswith(_ESCAPE)


def _plain(state: object) -> bytes:
    """Return the JSON of a state of any types."""
    try:
        return to_json(state)
    except (ValueError, RecursionError):
        # The error is not chained: it can quote the state.
        _refuse(state, "something that cannot be written as JSON")


def _typed(state: object, kind: Any) -> bytes:
    adapter = _adapter(kind)
    said = f"the state, a {_name_of(kind)},"
    found: str | None = ""
    # The JSON of most models has null for NaN and the infinities. It is faster, and right for all other values.
    for dump in (_as_declared, _with_nan):
        try:
            payload = dump(adapter, state)
        except Exception:  # noqa: BLE001 - an error of the caller's serializer can quote the state
            where = _at(_unwritable(state, adapter))
            raise FormatError(f"{said} cannot be written as JSON{where}", _TODO) from None
        try:
            found = difference(state, adapter.validate_json(payload))
        except ValidationError as error:
            found = _path(error.errors(include_input=False, include_context=False)[0]["loc"], adapter)
        except Exception:  # noqa: BLE001 - as above, of a validator or a comparison
            found = ""
        if found is None:
            return payload
    raise FormatError(f"{said} does not come back equal from its own JSON{_at(found or '')}", _LEFT_OUT)


def _as_declared(adapter: TypeAdapter[Any], state: object) -> bytes:
    return adapter.dump_json(state, round_trip=True, by_alias=True, warnings=False)


def _with_nan(adapter: TypeAdapter[Any], state: object) -> bytes:
    return to_json(adapter.dump_python(state, mode="json", round_trip=True, by_alias=True, warnings=False))


def _is_typed(state: object) -> bool:
    return _is_typed_class(type(state))


def _is_typed_class(kind: type) -> bool:
    return issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)


def _type_of(state: object) -> Any:
    """Return the type of a list or dict of models or dataclasses of one type; None if it contains anything else."""
    if _is_typed(state):
        return type(state)
    if type(state) is list:
        inner = _common(state)
        return None if inner is None else GenericAlias(list, inner)
    if type(state) is dict and all(type(key) is str for key in state):
        inner = _common(state.values())
        return None if inner is None else GenericAlias(dict, (str, inner))
    return None


def _common(values: Iterable[object]) -> Any:
    kinds: list[Any] = []
    optional = False
    for value in values:
        if value is None:
            optional = True
            continue
        kind = _type_of(value)
        if kind not in kinds:
            kinds.append(kind)
    if len(kinds) != 1 or kinds[0] is None:
        return None
    return kinds[0] | None if optional else kinds[0]


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type.

    Raises:
        FormatError: pydantic cannot make one; the message names the field.
    """
    try:
        return _cached_adapter(kind) if isinstance(kind, Hashable) else TypeAdapter(kind)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it
        todo = (
            "Use field types that pydantic can write and read; keep clients and connections out of the state."
        )
        if getattr(error, "code", None) == "typed-dict-version":
            todo = "Before Python 3.12, use TypedDict from typing_extensions."
        raise FormatError(
            f"the type {_name_of(kind)} cannot be saved as JSON{_at(_unsupported(kind))}", todo
        ) from None


@lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _name_of(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)[:80]


def _at(path: str) -> str:
    return f" at {path.removeprefix('.')}" if path else ""


def _unsupported(kind: Any, depth: int = 0) -> str:
    """Return the path to the part of a type that pydantic does not support."""
    if depth > _MAX_DEPTH:
        return ""
    parts: Iterable[tuple[str, Any]]
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "__required_keys__")):
        try:
            parts = [(f".{name}", hint) for name, hint in get_type_hints(kind, include_extras=True).items()]
        except (NameError, TypeError):
            return ""
    else:
        parts = [("", part) for part in get_args(kind)]
    for said, part in parts:
        try:
            TypeAdapter(part)
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            return said + _unsupported(part, depth + 1)
    return ""


def _unwritable(state: Any, adapter: TypeAdapter[Any]) -> str:
    """Return the path to the part of a state that cannot be written as JSON."""
    for said, write, part in _written_parts(state, adapter):
        try:
            write()
        except RecursionError:
            return said
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            return said + _unwritable(part, _part_adapter(part))
    return ""


def _written_parts(state: Any, adapter: TypeAdapter[Any]) -> Iterator[tuple[str, Callable[[], object], Any]]:
    if isinstance(state, BaseModel):
        names = list(type(state).model_fields)
    elif dataclasses.is_dataclass(state):
        names = [field.name for field in dataclasses.fields(state)]
    else:
        names = []
    for name in names:
        write = partial(adapter.dump_python, state, mode="json", include={name}, warnings=False)
        yield f".{name}", write, getattr(state, name, None)
    if isinstance(state, list | tuple):
        for at, item in enumerate(state):
            yield f"[{at}]", partial(to_json, item), item
    elif isinstance(state, dict):
        for item in state.values():
            yield "[…]", partial(to_json, item), item


def _part_adapter(part: object) -> TypeAdapter[Any]:
    try:
        return _adapter(type(part) if _is_typed(part) else Any)
    except FormatError:
        return _adapter(Any)


def _path(loc: Iterable[int | str], adapter: TypeAdapter[Any]) -> str:
    """Return the path for a location from pydantic, without keys of dicts, which can be as secret as values."""
    names = _declared(adapter)
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in names else "[…]" for part in loc
    )


def _declared(adapter: TypeAdapter[Any]) -> set[str]:
    """Return the names and aliases of all fields in a type."""
    names: set[str] = set()
    todo: list[Any] = [adapter.core_schema]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            fields = part.get("fields")
            if isinstance(fields, dict):
                names.update(name for name in fields if isinstance(name, str))
            names.update(part[key] for key in ("name", "validation_alias") if isinstance(part.get(key), str))
            todo += part.values()
        elif isinstance(part, list | tuple):
            todo += part
    return names


def _strange(state: object) -> set[type]:
    """Return the types in a state that JSON does not preserve: tuples, objects, keys that are not strings.

    Looks level by level at the set of types in each list and dict: a list of a million floats takes milliseconds.

    Raises:
        FormatError: The state is nested too deeply, or an integer is too long.
    """
    found: set[type] = set()
    level: list[Any] = [[state]]
    for _ in range(_MAX_DEPTH + 1):
        inside: list[Any] = []
        for container in level:
            values = container.values() if type(container) is dict else container
            types = set(map(type, values))
            found |= types - _JSON_TYPES
            if type(container) is dict:
                found |= set(map(type, container)) - {str}
            if int in types and any(
                type(value) is int and not -_INT_BOUND < value < _INT_BOUND for value in values
            ):
                raise FormatError(
                    "the state contains an integer of more than 4,299 digits", "Save it as text."
                )
            if types & _CONTAINERS:
                inside += (value for value in values if type(value) in _CONTAINERS)
        if not inside:
            return found
        level = inside
    raise FormatError(f"the state is more than {_MAX_DEPTH} levels deep", "Save it as bytes.")


def _refuse(state: object, what: str) -> NoReturn:
    raise FormatError(f"the state, a {type(state).__name__}, contains {what}{_at(_where(state))}", _TODO)


def _where(state: Any, depth: int = 0) -> str:
    """Return the path to the first part of a state that is not a JSON value."""
    if depth > _MAX_DEPTH:
        return ""
    parts: Iterable[tuple[str, Any]] = ()
    if type(state) is list:
        parts = ((f"[{at}]", item) for at, item in enumerate(state))
    elif type(state) is dict:
        parts = (("[…]", item) for item in state.values())
    for said, part in parts:
        if type(part) in _CONTAINERS:
            inside = _where(part, depth + 1)
            if inside:
                return said + inside
        elif type(part) not in _JSON_TYPES:
            return said
    return ""
