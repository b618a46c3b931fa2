"""Options of every sweep."""

import re
from datetime import timedelta
from typing import Annotated, Final

import typer

WEEK: Final = timedelta(days=7)
SHARE: Final = 0.2

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dh])")


def span(text: str | timedelta) -> timedelta:
    """The time that ``7d`` or ``36h`` says. Typer passes defaults through it as well."""
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
        help="How long to wait between the two looks, such as 7d; at least 1d, and longer than a run can take from "
        "the writing of its input until the server shows it.",
    ),
]
MaxShare = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Do nothing if more than this share of all objects is on its way out, marked before or now.",
    ),
]
Delete = Annotated[
    bool, typer.Option("--delete", help="Mark and delete. Without it, only say what would be done.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print records instead of a table.")]
Moved = Annotated[
    bool,
    typer.Option(
        "--moved",
        help="The engine's cluster or namespace is another one than the store was swept for before, and that is right.",
    ),
]
NoRuns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="This one of them rightly has no runs, or was deleted for good: free all that was written for it. Can be given "
        "several times.",
    ),
]
Tenants = Annotated[
    list[str] | None,
    typer.Option(
        "--tenant",
        help="Whose payloads to sweep; can be given several times. No other server of this engine may write for them.",
        show_default="default",
    ),
]
