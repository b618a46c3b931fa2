"""The report as tables for the terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coatcheck.cli.doctor.words import (
    amount,
    first_end,
    limit,
    percent,
    printable,
    size,
    turn,
    verdict,
)
from coatcheck.doctor.diagnosis import Diagnosis
from coatcheck.doctor.limits import Distance
from coatcheck.doctor.places import Place, Share

SHOWN = 8
"""Most rows of a table."""
_NAME = 34
"""Most characters of a name."""
_NAMES = frozenset(
    {"limit", "run", "name", "event type", "activity", "field", "form"} | {"kind", "namespace", "channel"}
)
"""Columns that hold text."""


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print everything about one run."""
    console.print(Text(printable(diagnosis.case), style="bold"))
    console.print(
        f"{size(diagnosis.size)} of history, {diagnosis.events:,} events, {diagnosis.turns:,} turns",
        highlight=False,
    )
    for sentence in verdict(diagnosis):
        console.print(Text(sentence))
    console.print(_limits(diagnosis))
    console.print(shares("by event type", diagnosis.by_kind, diagnosis.size))
    if diagnosis.by_step:
        console.print(shares("by activity", diagnosis.by_step, diagnosis.size))
    if diagnosis.largest:
        console.print(_largest(diagnosis))
    if diagnosis.repeats:
        console.print(_repeats(diagnosis))


def show_many(diagnoses: Sequence[Diagnosis], console: Console) -> None:
    """Print one row a run."""
    made = table(
        "runs, those closest to a limit first", "run", "history", "turns", "ends at", "coatcheck", "ends at"
    )
    for one in diagnoses:
        ends, chained = first_end(one.distances), first_end(one.prospect.distances)
        made.add_row(
            Text(printable(one.case)),
            size(one.size),
            f"{one.turns:,}",
            _ends(ends),
            size(one.prospect.size),
            _ends(chained),
        )
    console.print(made)


def _ends(distance: Distance | None) -> str:
    return f"turn {turn(distance)}" if distance else "-"


def _limits(diagnosis: Diagnosis) -> Table:
    made = table("limits", "limit", "now", "used", "at turn", "coatcheck", "at turn")
    for plain, chained in zip(diagnosis.distances, diagnosis.prospect.distances, strict=True):
        style = "red" if plain.met else ""
        made.add_row(
            limit(plain.limit),
            Text(amount(plain.limit.measure, plain.now), style),
            Text(percent(plain.share), style),
            Text(turn(plain), style),
            amount(chained.limit.measure, chained.now),
            turn(chained),
        )
    return made


def shares(
    title: str, found: Sequence[Share], whole: int, count: str = "events", content: str = "payloads"
) -> Table:
    """Return a table of the largest shares.

    Args:
        title: What they are shares by: ``by event type``.
        found: The shares, the largest first.
        whole: Bytes of all.
        count: Title of the number of things.
        content: Title of the bytes of values among them; empty to leave them out.
    """
    columns = [name for name in ("name", count, "bytes", content, "share") if name]
    made = table(f"bytes {title}", *columns)
    for share in found[:SHOWN]:
        made.add_row(
            Text(printable(share.name, _NAME)),
            f"{share.count:,}",
            size(share.size),
            *([size(share.payloads)] if content else []),
            percent(share.size / whole if whole else 0),
        )
    return made


def _largest(diagnosis: Diagnosis) -> Table:
    made = table("largest payloads", "event", "event type", "activity", "field", "bytes", "form")
    for place in diagnosis.largest[:SHOWN]:
        made.add_row(*_place(place), size(place.size), str(place.form))
    return made


def _repeats(diagnosis: Diagnosis) -> Table:
    title = f"repeated payloads, byte for byte: {size(diagnosis.repeated)} in total"
    made = table(title, "event", "event type", "activity", "field", "times", "extra")
    for repeat in diagnosis.repeats[:SHOWN]:
        made.add_row(*_place(repeat.places[0]), f"{len(repeat.places):,}", size(repeat.again))
    return made


def _place(place: Place) -> Iterable[Text]:
    yield Text(f"{place.number:,}")
    for name, width in ((place.kind, 26), (place.step, 16), (place.where, 18)):
        yield Text(printable(name, width))


def table(title: str, *columns: str) -> Table:
    """Return an empty table; columns that hold names are aligned to the left."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(
            name,
            justify="left" if name in _NAMES else "right",
            # A run's name is never shortened, because people copy it.
            no_wrap=name != "run",
            overflow="fold",
        )
    return made
