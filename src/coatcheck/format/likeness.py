"""Comparing a state with what comes back of it: by type and value, whatever a class itself calls equal."""

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
"""Stands for a key in a path: keys of a dict can be as secret as values."""


def difference(old: object, new: object) -> str | None:
    """Return where two values first differ: ``.messages[3].content``, empty for the values themselves; None if nowhere.

    Names of fields and numbers of items are said, keys of dicts are not. Models, dataclasses and other objects are compared
    by what they hold, containers by what is in them, and all by their types: ``1`` is neither ``True`` nor ``1.0``.
    NaN is NaN.
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
    for held in ("__pydantic_extra__", "__pydantic_private__"):
        here, there = getattr(old, held) or {}, getattr(new, held) or {}
        for name in {**here, **there}:
            # The names of extra fields come from the state, not from the class.
            shown = f".{name}" if held.endswith("private__") else _HIDDEN
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
    """Attributes of an instance beside its fields, but for what it only remembers."""
    return [
        name
        for name in getattr(value, "__dict__", ())
        if name not in names and not isinstance(getattr(type(value), name, None), cached_property)
    ]


def _in_sequence(old: Any, new: Any) -> str | None:
    if len(old) != len(new):
        return ""
    kinds = set(map(type, old))
    # A million numbers or texts in milliseconds.
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
    held = getattr(old, "__dict__", None)
    if held is not None and difference(held, new.__dict__) is not None:
        return False
    # What has no opinion of its own is what it holds.
    return ("__eq__" not in _defined(type(old)) and bool(held)) or bool(old == new)


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
