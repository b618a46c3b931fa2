"""Figures for machines and for people: one list of records, shown as a table or as JSON."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """One figure."""

    case: str
    name: str
    value: float
    unit: str


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows ``--json PATH``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to PATH as well")
    return parser


def show(records: Iterable[Record], path: Path | None) -> None:
    """Print the records as a table, and write them to ``path`` if one is given."""
    rows = list(records)
    case_width, name_width = (max(len(getattr(row, column)) for row in rows) for column in ("case", "name"))
    for row in rows:
        print(f"{row.case:<{case_width}}  {row.name:<{name_width}}  {row.value:>12,.3f} {row.unit}")
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def in_turn(rounds: int, *contenders: Callable[[], object]) -> list[list[float]]:
    """Seconds of each of ``rounds`` calls, one list a contender.

    The contenders take turns, so that whatever else the machine does meets them all alike.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, taken in zip(contenders, times, strict=True):
            start = time.perf_counter()
            contender()
            taken.append(time.perf_counter() - start)
    return times


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios, round by round: steadier than the ratio of two medians."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
