"""Options common to all sweeps."""

import re
from datetime import timedelta
from typing import Annotated, Final

import typer

WEEK: Final = timedelta(days=7)
SHARE: Final = 0.2

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dh])")


def span(text: str | timedelta) -> timedelta:
    """Parse a time such as ``7d`` or ``36h``. Typer also passes defaults."""
    if isinstance(text, timedelta):
        return text
    found = _SPAN.fullmatch(text)
    if not found:
        raise typer.BadParameter(f"{text!r} is not a time such as 7d or 36h")
    return timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})


Grace = Annotated[
    timedelta,
    typer.Option(
        parser=span,
        metavar="TIME",
        show_default="7d",
        help="Time between mark and deletion, such as 7d; at least 1d, and longer than the time from the writing of a "
        "run's input until the server lists the run.",
    ),
]
MaxShare = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Refuse to sweep if more than this share of all objects is marked, before or now.",
    ),
]
Delete = Annotated[bool, typer.Option("--delete", help="Mark and delete. Without it: a dry run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON records instead of a table.")]
Moved = Annotated[
    bool,
    typer.Option(
        "--moved",
        help="Confirm that the engine's cluster or namespace differs from the one of earlier sweeps of this store.",
    ),
]
NoRuns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Confirm that this tenant or namespace has no runs, or was deleted for good: sweep everything written for it. "
        "Repeatable.",
    ),
]
Tenants = Annotated[
    list[str] | None,
    typer.Option(
        "--tenant",
        help="Tenant whose payloads to sweep; repeatable. No other server of this engine may write for it.",
        show_default="default",
    ),
]
StoreAlias = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ALIAS",
        help="Sweep this one of the stores in [offload]: each that rules write to has to be swept by itself.",
        show_default="that of [offload] itself",
    ),
]
