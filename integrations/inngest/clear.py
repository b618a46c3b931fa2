"""Fields of events that stay in the clear, and the check that expressions refer to no others.

A sealed field that an expression names is missing on both sides of ``event.data.order == async.data.order``: null equals
null, and the approval of one order releases the refund of any other. So expressions on sealed fields are refused.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from coatcheck.errors import ConfigError
from coatcheck.format.shown import MARKER
from coatcheck.integrations.inngest.expressions import ROOTS, Path, paths_in

ADDED: Final = "_inngest"
"""Field that Inngest itself adds to the data of an event."""
LIFECYCLE: Final = ("inngest/function.finished", "inngest/function.failed", "inngest/function.cancelled")
"""Events that Inngest sends itself: they carry the run's trigger and its result."""
_SEALED_IN_LIFECYCLE: Final = (("events",), ("result",), ("error", "message"), ("error", "stack"))
_DATA: Final = "data"
_KEYED: Final = ("debounce", "throttle", "rate_limit", "singleton")

Names = tuple[str, ...]


class Use(NamedTuple):
    """An expression of a function, and the events it is about."""

    where: str
    """Option of the function that has it: ``cancel``."""
    text: str
    events: Mapping[str, Collection[str]]
    """Names of the events that each root stands for."""


class ClearFields:
    """Fields below an event's data, each by its name, or by the names on the way to it: ``order.id``.

    Args:
        fields: Fields as the user gave them.

    Raises:
        ConfigError: A name is reserved, is not a path, or does not start below the data.
    """

    def __init__(self, fields: Collection[str]) -> None:
        paths = {_parsed(field) for field in fields}
        self._paths = [
            path
            for path in sorted(paths)
            if not any(path[:length] in paths for length in range(1, len(path)))
        ]

    def of(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of ``data`` that stays in the clear."""
        clear: dict[str, Any] = {}
        for path in self._paths:
            _copy(data, clear, path)
        return clear

    def check(self, function: str, use: Use) -> None:
        """Refuse an expression that refers to a field which is not clear.

        Raises:
            ConfigError: It does, or it cannot be parsed. Names the function, the expression and the field.
        """
        try:
            paths = paths_in(use.text)
        except ConfigError as error:
            raise ConfigError(f"{use.where} of the function {function!r}: {error.what}", error.todo) from None
        for path in paths:
            if path.root not in use.events:
                raise ConfigError(
                    f"{use.where} of the function {function!r} is `{use.text[:200]}`, but there is no {path.root!r}",
                    "Refer to the event that triggers the function: event.data.name.",
                )
            for event in use.events[path.root]:
                missing = self._missing(path, event)
                if missing is not None:
                    raise ConfigError(
                        f"{use.where} of the function {function!r} is `{use.text[:200]}`, but {path} is sealed",
                        f"Inngest would find nothing there, on both sides of a comparison. {missing}",
                    )

    def _missing(self, path: Path, event: str) -> str | None:
        """Return what to do about a path that Inngest cannot see; None if it can."""
        names = path.names
        if names and names[0] != _DATA:
            return None
        names = names[1:]
        if event in LIFECYCLE and names:
            if names[:2] == ("event", _DATA):
                names = names[2:]
            elif any(
                names == sealed[: len(names)] or sealed == names[: len(sealed)]
                for sealed in _SEALED_IN_LIFECYCLE
            ):
                return "Results of runs are always sealed."
            elif names != ("event",):
                return None
        if not names:
            return "Refer to fields of the data, and name them in claim_check(clear=[...])."
        if names[0] == ADDED or any(names[: len(clear)] == clear for clear in self._paths):
            return None
        return f"Name it in claim_check(clear=[{'.'.join(names)!r}]), or compare something else."


def uses_of(config: Any) -> Iterator[Use]:
    """Yield all expressions of a function, from what the SDK registers it with (``inngest.FunctionConfig``)."""
    triggers = [trigger for trigger in config.triggers if getattr(trigger, "event", None)]
    own = {"event": [trigger.event for trigger in triggers]}
    priority, batch = config.priority, config.batch_events
    found = [
        *(("the trigger", one.expression, {"event": [one.event], "async": [one.event]}) for one in triggers),
        *(("cancel", one.if_exp, {**own, "async": [one.event]}) for one in config.cancel or ()),
        *(("concurrency", one.key, own) for one in config.concurrency or ()),
        *((where, getattr(getattr(config, where), "key", None), own) for where in _KEYED),
        ("idempotency", config.idempotency, own),
        ("priority", priority and priority.run, own),
        ("batch_events", batch and batch.key, own),
        ("batch_events", batch and batch.if_exp, own),
    ]
    return (Use(where, text, events) for where, text, events in found if text)


def _parsed(field: str) -> Names:
    names = tuple(field.split("."))
    if names[0] == MARKER:
        raise ConfigError(f"no field of an event may be called {MARKER!r}", "Leave it out of clear=...")
    if names[0] in ROOTS or (names[0] == _DATA and len(names) > 1):
        below = ".".join(name for name in names if name not in (*ROOTS, _DATA)) or "order"
        raise ConfigError(
            f"clear={field!r} does not start below the data of an event", f"Write it without: {below!r}."
        )
    if not all(names) or set(field) & set("[]\"'`() \t\n"):
        raise ConfigError(
            f"clear={field!r} is not a field of an event",
            "Write its name, or names joined by dots: 'order.id'.",
        )
    return names


def _copy(data: Mapping[str, Any], clear: dict[str, Any], path: Names) -> None:
    name, rest = path[0], path[1:]
    if not rest and name in data:
        clear[name] = data[name]
    elif rest and isinstance(data.get(name), dict):
        _copy(data[name], clear.setdefault(name, {}), rest)
