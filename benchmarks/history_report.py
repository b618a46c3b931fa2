"""Figures of several ways side by side: a table, what they had to come to, or JSON."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.records import Record

_FILE_WIDTH = 140
"""Characters in a line of a file or a pipe, which do not say how many they take."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, and what it may be at most."""

    what: str
    found: float
    bound: float

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.found <= self.bound

    def __str__(self) -> str:
        verdict = "ok    " if self.met else "MISSED"
        return f"{verdict}  {self.what}: {self.found:.3f}, at most {self.bound:g}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows ``--json [PATH]``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="PATH",
        help="write the figures to PATH as well; without PATH, print them instead of the table",
    )
    return parser


def show(records: Sequence[Record], targets: Iterable[Target], json_to: str | None) -> None:
    """Print a table and the targets, or JSON.

    Args:
        records: A case ends with the word for its way; what stands before it is where that was taken.
        targets: What the figures had to come to.
        json_to: A path, ``-`` for standard output alone, None for nowhere.
    """
    text = json.dumps([asdict(record) for record in records], indent=1) + "\n"
    if json_to == "-":
        sys.stdout.write(text)
        return
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
    console.print(table(records))
    for target in targets:
        style = "" if target.met else "red"
        console.print(str(target), style=style, highlight=False, soft_wrap=True)
    if json_to is not None:
        Path(json_to).write_text(text, encoding="utf-8")


def table(records: Iterable[Record]) -> Table:
    """A column for each way, a row for each figure."""
    ways: dict[str, None] = {}
    places: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
    for record in records:
        where, _, way = record.case.rpartition(" ")
        ways[way] = None
        places.setdefault(where, {}).setdefault((record.name, record.unit), {})[way] = record.value
    shown = Table("figure", "unit")
    for way in ways:
        shown.add_column(way, justify="right", no_wrap=True)
    for where, rows in places.items():
        if where:
            shown.add_section()
            shown.add_row(where, style="bold")
        for (name, unit), values in rows.items():
            shown.add_row(name, unit, *(_figure(values[way]) if way in values else "" for way in ways))
    return shown


def note(text: str) -> None:
    """Say what is going on, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3f}"
