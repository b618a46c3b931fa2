"""The common parts of all benchmarks' command lines."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.harness.records import Layout, Record, figure, to_json, values
from benchmarks.harness.targets import Target

_STANDARD_OUTPUT = Path("-")
_FILE_WIDTH = 140
"""Characters in a line of a file or a pipe, which have no width of their own."""


def arguments(description: str | None, chart: str = "") -> argparse.ArgumentParser:
    """Build a parser with ``--json [PATH]``, and with ``--plot PATH`` if there is a chart.

    Args:
        description: The text for ``--help``.
        chart: The name of the benchmark's chart in :data:`benchmarks.charting.charts.CHARTS`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.set_defaults(plot=None, chart=chart)
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_STANDARD_OUTPUT,
        metavar="PATH",
        help="also write the figures to PATH; without PATH, print them instead of the table",
    )
    if chart:
        parser.add_argument("--plot", type=Path, metavar="PATH", help="also draw the figures to PATH (PNG)")
    return parser


@contextmanager
def on_real_servers() -> Iterator[None]:
    """Exit with status 1 and name the missing server if one is not available."""
    try:
        yield
    except pytest.skip.Exception as unavailable:
        raise SystemExit(str(unavailable)) from None


def show(records: Iterable[Record], options: argparse.Namespace, targets: Iterable[Target] = ()) -> None:
    """Print a table and the targets, or JSON; draw the chart if requested.

    Args:
        records: The figures.
        options: Options of a parser from :func:`arguments`; with ``--json`` alone only JSON is printed.
        targets: The targets of the figures.
    """
    rows = list(records)
    if options.json == _STANDARD_OUTPUT:
        sys.stdout.write(to_json(rows))
    else:
        console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
        console.print(_table(Layout(rows)))
        for target in targets:
            style = "" if target.met else "red"
            console.print(str(target), style=style, highlight=False, soft_wrap=True)
        if options.json is not None:
            options.json.write_text(to_json(rows), encoding="utf-8")
    if options.plot is not None:
        from benchmarks.charting import charts, drawing  # noqa: PLC0415 - matplotlib is slow to load

        drawing.save(charts.CHARTS[options.chart].draw, values(rows), options.plot)


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
