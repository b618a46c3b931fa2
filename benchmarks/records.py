"""Figures for machines and for people: one list of records, shown as a table or as JSON."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import ways
from benchmarks.targets import Target, Values

_STANDARD_OUTPUT = Path("-")
_FILE_WIDTH = 140
"""Characters in a line of a file or a pipe, which do not say how many they take."""


@dataclass(frozen=True, slots=True)
class Record:
    """One figure."""

    case: str
    name: str
    value: float
    unit: str


_EVERY = 20
"""Of figures that there are for each turn, tables show one in this many."""


class Layout:
    """Records side by side: a row for each place and figure, a column for each way.

    Args:
        records: In the order in which the rows are to come.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        rows = [record for record in records if _shown(record)]
        self.ways = ways.found_in(row.case for row in rows)
        """Columns."""
        if any(not ways.split(row.case)[1] for row in rows):
            self.ways.append(ways.ONLY)
        self.places: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
        """Rows by place, then by name and unit: the values by way."""
        for row in rows:
            where, way = ways.split(row.case)
            figures = self.places.setdefault(where, {}).setdefault((row.name, row.unit), {})
            figures[way or ways.ONLY] = row.value


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows ``--json [PATH]``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_STANDARD_OUTPUT,
        metavar="PATH",
        help="write the figures to PATH as well; without PATH, print them instead of the table",
    )
    return parser


def show(records: Iterable[Record], path: Path | None, targets: Iterable[Target] = ()) -> None:
    """Print a table and the targets, or JSON.

    Args:
        records: The figures.
        path: Where they are written to as JSON, ``-`` for standard output and nothing else there; None for nowhere.
        targets: What the figures had to come to.
    """
    rows = list(records)
    if path == _STANDARD_OUTPUT:
        sys.stdout.write(to_json(rows))
        return
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
    console.print(_table(Layout(rows)))
    for target in targets:
        style = "" if target.met else "red"
        console.print(str(target), style=style, highlight=False, soft_wrap=True)
    if path is not None:
        path.write_text(to_json(rows), encoding="utf-8")


def to_json(records: Iterable[Record]) -> str:
    """As they stand in a file."""
    return json.dumps([asdict(record) for record in records], indent=1) + "\n"


def from_json(text: str) -> list[Record]:
    """What :func:`to_json` wrote."""
    return [Record(**row) for row in json.loads(text)]


def figure(value: float) -> str:
    """A value, as tables have it."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:,.3f}"


def note(text: str) -> None:
    """Say what is going on, on standard error."""
    print(text, file=sys.stderr, flush=True)


def values(records: Iterable[Record]) -> Values:
    """The figures by case and name."""
    return {(record.case, record.name): record.value for record in records}


def medians(records: Iterable[Record]) -> list[Record]:
    """One record for all rounds of a figure: of seconds the median, of counts the last."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    for row in records:
        rows.setdefault((row.case, row.name, row.unit), []).append(row.value)
    return [
        Record(case, name, statistics.median(found) if unit == "s" else found[-1], unit)
        for (case, name, unit), found in rows.items()
    ]


def in_turn(
    rounds: int, *contenders: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Seconds of each of ``rounds`` calls, one list a contender.

    The contenders take turns, so that whatever else the machine does meets them all alike.

    Args:
        rounds: How often.
        *contenders: What is called.
        clock: Tells seconds; ``time.thread_time`` where all work is done in this thread, whoever else uses the processor.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, taken in zip(contenders, times, strict=True):
            start = clock()
            contender()
            taken.append(clock() - start)
    return times


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios, round by round: steadier than the ratio of two medians."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _table(layout: Layout) -> Table:
    shown = Table("figure", "unit")
    for way in layout.ways:
        shown.add_column(way, justify="right", no_wrap=True)
    for where, rows in layout.places.items():
        if where:
            shown.add_section()
            shown.add_row(where, style="bold")
        for (name, unit), found in rows.items():
            shown.add_row(name, unit, *(figure(found[way]) if way in found else "" for way in layout.ways))
    return shown


def _shown(record: Record) -> bool:
    where, _ = ways.split(record.case)
    return not where.startswith("turn ") or int(where.split()[1]) % _EVERY == 0
