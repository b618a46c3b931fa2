"""The results as a table, as records, and as sentences."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from coatcheck.cli.demo.runs import RunResult

Record = dict[str, str | int | float]
"""``case``, ``name``, ``value`` and ``unit`` of one figure."""


def table(results: Sequence[RunResult]) -> Table:
    """Build a table with a column for each run and a row for each measure, at most 80 characters wide."""
    drawn = Table(title="An agent on Temporal, plain and with coatcheck", box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("", no_wrap=True)
    for result in results:
        drawn.add_column(result.case.name.replace("-", "-\n"), justify="right", vertical="bottom")
    rows = {
        "turns done": [f"{len(o.history.size_after_turn)} of {o.case.turns}" for o in results],
        "status": [f"[{'green' if o.completed else 'red'}]{o.history.status}" for o in results],
        "history": [size(o.history.size) for o in results],
        "largest event": [size(o.history.largest_event) for o in results],
        "events": [f"{o.history.events}" for o in results],
        "stored": [size(o.stored_bytes) if o.case.chained else "-" for o in results],
        "stored objects": [f"{o.objects}" if o.case.chained else "-" for o in results],
        "wall time": [f"{o.wall_seconds:.1f} s" for o in results],
        "recovered": [_mark(o.recovered) for o in results],
        "byte for byte": [_mark(o.equal if o.completed else None) for o in results],
    }
    for name, cells in rows.items():
        drawn.add_row(name, *cells)
    return drawn


def records(results: Sequence[RunResult]) -> list[Record]:
    """Return every figure of every run; truth values are 1 and 0."""
    return [
        {"case": result.case.name, "name": name, "value": value, "unit": unit}
        for result in results
        for name, value, unit in _figures(result)
    ]


def failures(results: Sequence[RunResult]) -> list[str]:
    """Return the failures of the runs with the chain; empty if there are none."""
    failed: list[str] = []
    for result in results:
        if not result.case.chained:
            continue
        name = result.case.name
        if not result.completed:
            failed.append(f"{name}: the workflow is {result.history.status}; its worker: {result.worker_log}")
        elif not result.equal:
            failed.append(f"{name}: the result differs from the agent's conversation")
        elif result.recovered is False:
            failed.append(f"{name}: no second worker continued the work of the killed one")
    return failed


def summary(results: Sequence[RunResult]) -> list[str]:
    """Return the conclusions, one sentence each."""
    by_length: dict[int, dict[bool, RunResult]] = {}
    for result in results:
        if result.case.kill_at is None:
            by_length.setdefault(result.case.turns, {})[result.case.chained] = result
    return [_compare(turns, pair[False], pair[True]) for turns, pair in by_length.items()]


def size(count: int) -> str:
    """Format a number of bytes in decimal units."""
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _compare(turns: int, plain: RunResult, chained: RunResult) -> str:
    with_chain = f"with coatcheck {size(chained.history.size)}"
    if plain.completed:
        times = plain.history.size / chained.history.size
        return f"{turns} turns: plain {size(plain.history.size)} of history, {with_chain}, {times:.0f} times less."
    done = len(plain.history.size_after_turn)
    reason = f" ({plain.history.reason.rstrip('.')})" if plain.history.reason else ""
    return f"{turns} turns: plain {plain.history.status} after {done} at {size(plain.history.size)}{reason}, {with_chain}."


def _figures(result: RunResult) -> list[tuple[str, int | float, str]]:
    figures: list[tuple[str, int | float, str]] = [
        ("turns", len(result.history.size_after_turn), "count"),
        ("history_bytes", result.history.size, "bytes"),
        ("largest_event_bytes", result.history.largest_event, "bytes"),
        ("events", result.history.events, "count"),
        ("stored_bytes", result.stored_bytes, "bytes"),
        ("objects", result.objects, "count"),
        ("wall_seconds", round(result.wall_seconds, 3), "seconds"),
        ("completed", int(result.completed), "bool"),
        ("equal", int(result.equal), "bool"),
    ]
    if result.recovered is not None:
        figures.append(("recovered", int(result.recovered), "bool"))
    return figures


def _mark(value: bool | None) -> str:  # noqa: FBT001 - the only argument
    return "-" if value is None else "[green]yes" if value else "[red]no"
