"""Comparison of a state before and after a round trip: by type and value, whatever ``__eq__`` of a class says."""

import dataclasses
import math
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel

_ATOMS: Final = frozenset({str, int, bool, bytes, type(None)})
_HIDDEN: Final = "[…]"
"""Placeholder for a dict key in a path: keys can be as secret as values."""


def difference(old: object, new: object) -> str | None:
    """Return the path to the first difference: ``.messages[3].content``, empty for the values themselves; None if equal.

    The path shows names of fields and indexes of items, but no keys of dicts. Models, dataclasses and other objects are
    compared by their attributes, containers by their items, and all by their types: ``1`` is neither ``True`` nor
    ``1.0``. NaN equals NaN.
    """
    kind = type(old)
    if kind is not type(new):
        return ""
    if kind not in _ATOMS:
        for kinds, look in _WAYS:
            if isinstance(old, kinds):
                return look(old, new)
        if dataclasses.is_dataclass(old):
            return _in_dataclass(old, new)
        return None if _is_same_other(old, new) else ""
    return None if old == new else ""


def _in_float(old: float, new: float) -> str | None:
    same = (old == new and math.copysign(1, old) == math.copysign(1, new)) or (old != old and new != new)  # noqa: PLR0124 - NaN
    return None if same else ""


def _in_enum(old: Enum, new: Enum) -> str | None:
    return None if old is new else ""


def _in_dataclass(old: Any, new: Any) -> str | None:
    names = [field.name for field in dataclasses.fields(old)]
    return _in_attributes([*names, *_more(old, names), *_more(new, names)], old, new)


def _in_model(old: BaseModel, new: BaseModel) -> str | None:
    names = list(type(old).model_fields)
    found = _in_attributes(names, old, new)
    if found is not None:
        return found
    for attribute in ("__pydantic_extra__", "__pydantic_private__"):
        here, there = getattr(old, attribute) or {}, getattr(new, attribute) or {}
        for name in {**here, **there}:
            # The names of extra fields come from the state, not from the class.
            shown = f".{name}" if attribute.endswith("private__") else _HIDDEN
            if name not in here or name not in there:
                return shown
            inside = difference(here[name], there[name])
            if inside is not None:
                return shown + inside
    return None


_ABSENT: Final = object()


def _in_attributes(names: Iterable[str], old: object, new: object) -> str | None:
    for name in names:
        inside = difference(getattr(old, name, _ABSENT), getattr(new, name, _ABSENT))
        if inside is not None:
            return f".{name}{inside}"
    return None


def _more(value: object, names: list[str]) -> list[str]:
    """Return the attributes of an instance that are neither fields nor cached properties."""
    return [
        name
        for name in getattr(value, "__dict__", ())
        if name not in names and not isinstance(getattr(type(value), name, None), cached_property)
    ]


def _in_sequence(old: Any, new: Any) -> str | None:
    if len(old) != len(new):
        return ""
    kinds = set(map(type, old))
    # A fast path: a million numbers or strings take milliseconds.
    if (
        kinds == {float}
        and set(map(type, new)) == kinds
        and array("d", old).tobytes() == array("d", new).tobytes()
    ):
        return None
    if kinds <= _ATOMS and list(map(type, old)) == list(map(type, new)) and old == new:
        return None
    for number, (here, there) in enumerate(zip(old, new, strict=True)):
        inside = difference(here, there)
        if inside is not None:
            return f"[{number}]{inside}"
    return None


def _in_dict(old: dict[Any, Any], new: dict[Any, Any]) -> str | None:
    if len(old) != len(new):
        return ""
    if isinstance(old, defaultdict) and old.default_factory != new.default_factory:  # type: ignore[attr-defined]
        return ""
    keys = {key: key for key in new}
    for key, value in old.items():
        if key not in keys or difference(key, keys[key]) is not None:
            return _HIDDEN
        inside = difference(value, new[key])
        if inside is not None:
            return _HIDDEN + inside
    return None


def _in_set(old: Any, new: Any) -> str | None:
    items = {item: item for item in new}
    same = len(old) == len(new) and all(
        item in items and difference(item, items[item]) is None for item in old
    )
    return None if same else ""


def _is_same_other(old: Any, new: Any) -> bool:
    if isinstance(old, datetime | time) and old.utcoffset() != new.utcoffset():
        return False
    if isinstance(old, Decimal) and old.as_tuple() != new.as_tuple():
        return False
    attributes = getattr(old, "__dict__", None)
    if attributes is not None and difference(attributes, new.__dict__) is not None:
        return False
    # A class without __eq__ is compared by its attributes alone.
    return ("__eq__" not in _defined(type(old)) and bool(attributes)) or bool(old == new)


def _defined(kind: type) -> set[str]:
    return {name for base in kind.__mro__ if base is not object for name in vars(base)}


_WAYS: Final[tuple[tuple[Any, Callable[[Any, Any], str | None]], ...]] = (
    (Enum, _in_enum),
    (float, _in_float),
    (BaseModel, _in_model),
    ((list, tuple, deque), _in_sequence),
    (dict, _in_dict),
    ((set, frozenset), _in_set),
)
