"""An agent's state as one payload, and back: what comes back equals what went in, or it is refused on the way in.

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
"""What JSON without leading space can begin with; N and I begin NaN and Infinity."""
_ESCAPE: Final = b"\0"
"""In front of bytes that begin with it, or as JSON does. All others are stored as they are, which spares a copy."""
_MAX_DEPTH: Final = 200
"""Lists and dicts inside each other: as deep as pydantic's parser goes."""
_INT_BOUND: Final = 10**4299
"""Integers below it in size have at most 4,299 digits: as many as pydantic's parser takes, sign included."""
_CONTAINERS: Final = frozenset({dict, list})
_JSON_TYPES: Final = _CONTAINERS | {str, int, float, bool, type(None)}

_TODO: Final = (
    "A state is bytes, JSON values (dict with str keys, list, str, int, float, bool, None), a pydantic model, a dataclass,"
    " or a list or dict of one kind of those; as_type=... says what else it is."
)
_LEFT_OUT: Final = "Fields must not be left out, read under other names than written, or hold more than they are declared to."


def pack(state: object, as_type: Any = None) -> bytes:
    """Return the payload of a state, as it is now.

    JSON values are looked through for what JSON does not keep; the rest is read back and compared, field by field and by
    type, since it may leave out what it holds.

    Args:
        state: Bytes, JSON values, a pydantic model, a dataclass, or a list or dict of one kind of those.
        as_type: The type that it is written and read back as, where its own does not say all.

    Raises:
        FormatError: ``state`` would not come back equal, or nothing can be written as ``as_type``. The message names the
            field, and says nothing of what it holds.
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
                    state, f"what JSON does not keep: {', '.join(sorted(kind.__name__ for kind in strange))}"
                )
    return _typed(state, type(state) if as_type is None else as_type)


def unpack(payload: bytes, into: Any = None) -> Any:
    """Return the state in a payload of :func:`pack`.

    Args:
        payload: What :func:`pack` gave.
        into: A pydantic model, a dataclass, or whatever else pydantic validates; None for bytes and JSON values.

    Raises:
        FormatError: The state does not fit ``into``, or ``payload`` is none of :func:`pack`. The message names the field.
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
            f"the state does not fit {error.title}: mistakes: {error.error_count()}, the first"
            f"{_at(_path(first['loc'], _adapter(into)))}: {first['type']}",
            "Give the field a default or a validator for what was saved before, or restore it without into to see what it"
            " holds.",
        ) from None
    except FormatError:
        raise
    except ValueError:
        raise FormatError("the state is not JSON", "It was not saved as a checkpoint.") from None
    except Exception as error:  # noqa: BLE001 - what a validator of the caller's raises can quote the state
        raise FormatError(
            f"a validator of {_name_of(into)} failed with {type(error).__name__}",
            "Restore the state without into to see what it holds.",
        ) from None


def kind_of(payload: bytes) -> Kind:
    """Return what a payload of :func:`pack` holds."""
    return "json" if payload and payload[0] in _JSON_STARTS else "bytes"


def size_of(payload: bytes) -> int:
    """Return the bytes of the state in a payload of :func:`pack`."""
    return len(payload) - payload.startswith(_ESCAPE)


def _plain(state: object) -> bytes:
    """The JSON of a state, whatever it is made of."""
    try:
        return to_json(state)
    except (ValueError, RecursionError):
        # Not chained: it can quote the state.
        _refuse(state, "what cannot be written as JSON")


def _typed(state: object, kind: Any) -> bytes:
    adapter = _adapter(kind)
    said = f"the state, a {_name_of(kind)},"
    found: str | None = ""
    # NaN and the infinities are null in the JSON of most models, which is right for all others, and faster.
    for dump in (_as_declared, _with_nan):
        try:
            payload = dump(adapter, state)
        except Exception:  # noqa: BLE001 - what a serializer of the caller's raises can quote the state
            where = _at(_unwritable(state, adapter))
            raise FormatError(f"{said} does not survive being written as JSON{where}", _TODO) from None
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
    """The type of a list or dict of models or dataclasses of one kind; None where there are several, or other things."""
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
    """The adapter of a type.

    Raises:
        FormatError: There is none; the message names the field.
    """
    try:
        return _cached_adapter(kind) if isinstance(kind, Hashable) else TypeAdapter(kind)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it
        todo = "A field must have a type that pydantic can write and read; keep clients and connections out of the state."
        if getattr(error, "code", None) == "typed-dict-version":
            todo = "Before Python 3.12, a TypedDict has to be that of typing_extensions."
        raise FormatError(
            f"{_name_of(kind)} is no type that can be saved as JSON{_at(_unsupported(kind))}", todo
        ) from None


@lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _name_of(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)[:80]


def _at(path: str) -> str:
    return f" at {path.removeprefix('.')}" if path else ""


def _unsupported(kind: Any, depth: int = 0) -> str:
    """Return where in a type the part is that pydantic does not know."""
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
    """Return where in a state the part is that cannot be written as JSON."""
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
    """A place in a state as pydantic says it, without the keys of dicts, which can be as secret as values."""
    names = _declared(adapter)
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in names else "[…]" for part in loc
    )


def _declared(adapter: TypeAdapter[Any]) -> set[str]:
    """The names of all fields in a type, and their aliases."""
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
    """The types in a state that JSON gives back as something else: tuples, objects, keys that are no strings.

    Level by level, and by the set of types in each list and dict: a list of a million floats takes milliseconds.

    Raises:
        FormatError: It is too deep, or an integer too long.
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
                raise FormatError("the state holds an integer of more than 4,299 digits", "Save it as text.")
            if types & _CONTAINERS:
                inside += (value for value in values if type(value) in _CONTAINERS)
        if not inside:
            return found
        level = inside
    raise FormatError(f"the state is more than {_MAX_DEPTH} levels deep", "Save it as bytes.")


def _refuse(state: object, what: str) -> NoReturn:
    raise FormatError(f"the state, a {type(state).__name__}, holds {what}{_at(_where(state))}", _TODO)


def _where(state: Any, depth: int = 0) -> str:
    """Return where in a state the first thing is that is no JSON value."""
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
