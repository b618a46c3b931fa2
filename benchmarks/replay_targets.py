"""What the figures of ``benchmarks.replay`` have to come to."""

from collections.abc import Iterable, Iterator

from benchmarks.history_cases import OURS, SDK
from benchmarks.history_report import Target
from benchmarks.records import Record

_BOUNDS = {"cold_seconds": 0.1, "live_seconds": 0.4}
"""Times the SDK's, at 50 ms, in the same run."""


def ratios(records: Iterable[Record]) -> list[Record]:
    """Our seconds as times the SDK's."""
    value = {(record.case, record.name): record.value for record in records}
    found = []
    for (case, name), seconds in value.items():
        where, _, way = case.rpartition(" ")
        if way in OURS and name in _BOUNDS and (f"{where} {SDK}", name) in value:
            ratio = seconds / value[f"{where} {SDK}", name]
            found.append(Record(case, name.replace("seconds", "ratio"), ratio, "times sdk"))
    return found


def targets(records: Iterable[Record]) -> Iterator[Target]:
    """Whether each is met, and by what figure."""
    bounds = {name.replace("seconds", "ratio"): bound for name, bound in _BOUNDS.items()}
    for record in records:
        where, _, way = record.case.rpartition(" ")
        if way not in OURS:
            continue
        if record.name in bounds and where.endswith("50 ms"):
            yield Target(f"{record.case}, {record.name}, times the SDK's", record.value, bounds[record.name])
        elif record.name in {"warm_requests", "task_time_outs", "unfinished"}:
            yield Target(f"{record.case}, {record.name}", record.value, 0)
