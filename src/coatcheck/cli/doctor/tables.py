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

_SHOWN = 8
"""Most rows of a table."""
_NAME = 34
"""Most characters of a name."""
_NAMES = frozenset({"limit", "run", "name", "event type", "activity", "field", "form"})
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
    console.print(_shares("by event type", diagnosis.by_kind, diagnosis.size))
    if diagnosis.by_step:
        console.print(_shares("by activity", diagnosis.by_step, diagnosis.size))
    if diagnosis.largest:
        console.print(_largest(diagnosis))
    if diagnosis.repeats:
        console.print(_repeats(diagnosis))


def show_many(diagnoses: Sequence[Diagnosis], console: Console) -> None:
    """Print one row a run."""
    table = _table(
        "runs, those closest to a limit first", "run", "history", "turns", "ends at", "coatcheck", "ends at"
    )
    for one in diagnoses:
        ends, chained = first_end(one.distances), first_end(one.prospect.distances)
        table.add_row(
            Text(printable(one.case)),
            size(one.size),
            f"{one.turns:,}",
            _ends(ends),
            size(one.prospect.size),
            _ends(chained),
        )
    console.print(table)


def _ends(distance: Distance | None) -> str:
    return f"turn {turn(distance)}" if distance else "-"


def _limits(diagnosis: Diagnosis) -> Table:
    table = _table("limits", "limit", "now", "used", "at turn", "coatcheck", "at turn")
    for plain, chained in zip(diagnosis.distances, diagnosis.prospect.distances, strict=True):
        style = "red" if plain.met else ""
        table.add_row(
            limit(plain.limit),
            Text(amount(plain.limit.measure, plain.now), style),
            Text(percent(plain.share), style),
            Text(turn(plain), style),
            amount(chained.limit.measure, chained.now),
            turn(chained),
        )
    return table


def _shares(title: str, shares: Sequence[Share], whole: int) -> Table:
    table = _table(f"bytes {title}", "name", "events", "bytes", "payloads", "share")
    for share in shares[:_SHOWN]:
        table.add_row(
            Text(printable(share.name, _NAME)),
            f"{share.count:,}",
            size(share.size),
            size(share.payloads),
            percent(share.size / whole),
        )
    return table


def _largest(diagnosis: Diagnosis) -> Table:
    table = _table("largest payloads", "event", "event type", "activity", "field", "bytes", "form")
    for place in diagnosis.largest[:_SHOWN]:
        table.add_row(*_place(place), size(place.size), str(place.form))
    return table


def _repeats(diagnosis: Diagnosis) -> Table:
    title = f"repeated payloads, byte for byte: {size(diagnosis.repeated)} in total"
    table = _table(title, "event", "event type", "activity", "field", "times", "extra")
    for repeat in diagnosis.repeats[:_SHOWN]:
        table.add_row(*_place(repeat.places[0]), f"{len(repeat.places):,}", size(repeat.again))
    return table


def _place(place: Place) -> Iterable[Text]:
    yield Text(f"{place.number:,}")
    for name, width in ((place.kind, 26), (place.step, 16), (place.where, 18)):
        yield Text(printable(name, width))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(
            name,
            justify="left" if name in _NAMES else "right",
            # A run's name is never shortened, because people copy it.
            no_wrap=name != "run",
            overflow="fold",
        )
    return table
