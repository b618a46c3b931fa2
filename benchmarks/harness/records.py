"""Figures for machines and for people: one list of records, as a table lays them out or as JSON."""

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


def _shown(record: Record) -> bool:
    where, _ = ways.split(record.case)
    return not where.startswith("turn ") or int(where.split()[1]) % _EVERY == 0
