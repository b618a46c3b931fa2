"""The outcomes as a table, as records, and as a verdict."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from coatcheck.cli.demo.runs import Outcome

Record = dict[str, str | int | float]
"""``case``, ``name``, ``value`` and ``unit`` of one figure."""


def table(outcomes: Sequence[Outcome]) -> Table:
    """One column a run, one row a measure; fits 80 characters."""
    drawn = Table(title="An agent on Temporal, plain and with coatcheck", box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("", no_wrap=True)
    for outcome in outcomes:
        drawn.add_column(outcome.case.name.replace("-", "-\n"), justify="right", vertical="bottom")
    rows = {
        "turns done": [f"{len(o.history.size_after_turn)} of {o.case.turns}" for o in outcomes],
        "status": [f"[{'green' if o.completed else 'red'}]{o.history.status}" for o in outcomes],
        "history": [size(o.history.size) for o in outcomes],
        "largest event": [size(o.history.largest_event) for o in outcomes],
        "events": [f"{o.history.events}" for o in outcomes],
        "stored": [size(o.stored_bytes) if o.case.chained else "-" for o in outcomes],
        "stored objects": [f"{o.objects}" if o.case.chained else "-" for o in outcomes],
        "wall time": [f"{o.wall_seconds:.1f} s" for o in outcomes],
        "recovered": [_mark(o.recovered) for o in outcomes],
        "byte for byte": [_mark(o.equal if o.completed else None) for o in outcomes],
    }
    for name, cells in rows.items():
        drawn.add_row(name, *cells)
    return drawn


def records(outcomes: Sequence[Outcome]) -> list[Record]:
    """Every figure of every run; truth values are 1 and 0."""
    return [
        {"case": outcome.case.name, "name": name, "value": value, "unit": unit}
        for outcome in outcomes
        for name, value, unit in _figures(outcome)
    ]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What does not hold of the runs with the chain; empty if all is well."""
    failed: list[str] = []
    for outcome in outcomes:
        if not outcome.case.chained:
            continue
        name = outcome.case.name
        if not outcome.completed:
            failed.append(
                f"{name}: the workflow is {outcome.history.status}; its worker: {outcome.worker_log}"
            )
        elif not outcome.equal:
            failed.append(f"{name}: the result is not, byte for byte, what the agent said")
        elif outcome.recovered is False:
            failed.append(f"{name}: no second worker finished what the killed one began")
    return failed


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """What the figures come to, a sentence each."""
    by_length: dict[int, dict[bool, Outcome]] = {}
    for outcome in outcomes:
        if outcome.case.kill_at is None:
            by_length.setdefault(outcome.case.turns, {})[outcome.case.chained] = outcome
    return [_compare(turns, pair[False], pair[True]) for turns, pair in by_length.items()]


def size(count: int) -> str:
    """A number of bytes in decimal units."""
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _compare(turns: int, plain: Outcome, chained: Outcome) -> str:
    with_chain = f"with coatcheck {size(chained.history.size)}"
    if plain.completed:
        times = plain.history.size / chained.history.size
        return f"{turns} turns: plain {size(plain.history.size)} of history, {with_chain}, {times:.0f} times less."
    done = len(plain.history.size_after_turn)
    reason = f" ({plain.history.reason.rstrip('.')})" if plain.history.reason else ""
    return f"{turns} turns: plain {plain.history.status} after {done} at {size(plain.history.size)}{reason}, {with_chain}."


def _figures(outcome: Outcome) -> list[tuple[str, int | float, str]]:
    figures: list[tuple[str, int | float, str]] = [
        ("turns", len(outcome.history.size_after_turn), "count"),
        ("history_bytes", outcome.history.size, "bytes"),
        ("largest_event_bytes", outcome.history.largest_event, "bytes"),
        ("events", outcome.history.events, "count"),
        ("stored_bytes", outcome.stored_bytes, "bytes"),
        ("objects", outcome.objects, "count"),
        ("wall_seconds", round(outcome.wall_seconds, 3), "seconds"),
        ("completed", int(outcome.completed), "bool"),
        ("equal", int(outcome.equal), "bool"),
    ]
    if outcome.recovered is not None:
        figures.append(("recovered", int(outcome.recovered), "bool"))
    return figures


def _mark(value: bool | None) -> str:  # noqa: FBT001 - one truth value is all there is
    return "-" if value is None else "[green]yes" if value else "[red]no"
