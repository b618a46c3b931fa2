"""What the figures of ``benchmarks.history`` have to come to."""

from collections.abc import Iterable, Iterator

from benchmarks.history_cases import OURS, SDK
from benchmarks.history_report import Target
from benchmarks.records import Record

BOUNDS = {"history_bytes": 1.0, "stored_bytes": 1 / 25, "requests": 1 / 2, "wall_seconds": 1.0}
"""Times the SDK's, in the same run."""


def ratios(records: Iterable[Record]) -> list[Record]:
    """The figures that have a bound, as times the SDK's."""
    value = {(record.case, record.name): record.value for record in records}
    return [
        Record(case, f"{name}_ratio", value[case, name] / value[SDK, name], "times sdk")
        for case in OURS
        for name in BOUNDS
        if (case, name) in value
    ]


def targets(records: Iterable[Record]) -> Iterator[Target]:
    """Whether each is met, and by what figure."""
    value = {(record.case, record.name): record.value for record in records}
    for case in OURS:
        for name, bound in BOUNDS.items():
            if (case, f"{name}_ratio") in value:
                yield Target(f"{case}, {name}, times the SDK's", value[case, f"{name}_ratio"], bound)
        if (case, "replay_requests") in value:
            yield Target(f"{case}, requests of a warm replay", value[case, "replay_requests"], 0)
