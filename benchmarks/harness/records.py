"""Figures as records, laid out for a table or written as JSON."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from benchmarks.charting import ways
from benchmarks.harness.targets import Values


@dataclass(frozen=True, slots=True)
class Record:
    """One figure."""

    case: str
    name: str
    value: float
    unit: str


_EVERY = 20
"""Tables show the figures of every 20th turn."""


class Layout:
    """A table of records: a row for each place and figure, a column for each way.

    Args:
        records: Records in the order of the rows.
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


def to_json(records: Iterable[Record]) -> str:
    """Write records as JSON."""
    return json.dumps([asdict(record) for record in records], indent=1) + "\n"


def from_json(text: str) -> list[Record]:
    """Parse the output of :func:`to_json`."""
    return [Record(**row) for row in json.loads(text)]


def figure(value: float) -> str:
    """Format a value for a table."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:,.3f}"


def note(text: str) -> None:
    """Print progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def values(records: Iterable[Record]) -> Values:
    """Return the figures by case and name."""
    return {(record.case, record.name): record.value for record in records}


def medians(records: Iterable[Record]) -> list[Record]:
    """Combine the rounds of each figure: the median of seconds, the last of counts."""
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
    """Return the seconds of each of ``rounds`` calls, one list for each contender.

    The contenders take turns, so that other work on the machine affects all of them equally.

    Args:
        rounds: Number of rounds.
        *contenders: Functions to call.
        clock: Returns seconds; ``time.thread_time`` if all work is in this thread, to exclude other users of the processor.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, taken in zip(contenders, times, strict=True):
            start = clock()
            contender()
            taken.append(clock() - start)
    return times


def median_ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios, round by round: steadier than the ratio of two medians."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _shown(record: Record) -> bool:
    where, _ = ways.split(record.case)
    return not where.startswith("turn ") or int(where.split()[1]) % _EVERY == 0
