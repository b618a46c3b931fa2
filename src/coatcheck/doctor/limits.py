"""The engine's limits: how far a journal is from them, and at which turn it will meet them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from coatcheck.doctor.growth import Growth, fit
from coatcheck.doctor.journal import Journal

_MB = 2**20


class Measure(StrEnum):
    """What is limited."""

    HISTORY = "history size"
    EVENTS = "events"
    PAYLOAD = "largest payload"
    MESSAGE = "largest message"
    """What one answer of the workflow's code sends in one message."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One of the engine's limits."""

    name: str
    """For records: ``history_50mb``."""
    measure: Measure
    value: int
    """Bytes, or events."""
    consequence: str


TEMPORAL: tuple[Limit, ...] = (
    Limit("history_10mb", Measure.HISTORY, 10 * _MB, "the server warns"),
    Limit("history_50mb", Measure.HISTORY, 50 * _MB, "the workflow is terminated"),
    Limit("events_10240", Measure.EVENTS, 10_240, "the server warns"),
    Limit("events_51200", Measure.EVENTS, 51_200, "the workflow is terminated"),
    Limit("payload_2mb", Measure.PAYLOAD, 2 * _MB, "the server refuses it"),
    Limit("message_4mb", Measure.MESSAGE, 4 * _MB, "the workflow task fails"),
)
"""Of a self-hosted server with its default settings; Temporal Cloud has the same."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a journal is from one limit."""

    limit: Limit
    now: int
    turn: int | None
    """At which turn it was met, or will be at the present growth; None for never, or where that cannot be told."""

    @property
    def met(self) -> bool:
        """Whether it is at the limit already."""
        return self.now >= self.limit.value

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.now / self.limit.value


@dataclass(frozen=True, slots=True)
class Course:
    """How each measure went, turn by turn, and where it stands."""

    now: dict[Measure, int]
    growth: dict[Measure, Growth]
    """Empty if there were too few turns to tell."""

    def distances(self, limits: Sequence[Limit] = TEMPORAL) -> list[Distance]:
        """From each limit."""
        return [Distance(limit, self.now[limit.measure], self._turn(limit)) for limit in limits]

    def _turn(self, limit: Limit) -> int | None:
        growth = self.growth.get(limit.measure)
        if growth is None:
            return None
        if self.now[limit.measure] >= limit.value > growth.points[-1]:
            return len(growth.points)
        return growth.reaches(limit.value)


def course(journal: Journal) -> Course:
    """Follow every measure through ``journal``.

    What stands between two turns is counted with the later one. The last turn is not counted in the growth: it may
    not have come to its end.
    """
    events = journal.events
    series = {
        Measure.HISTORY: list(accumulate(event.size for event in events)),
        Measure.EVENTS: list(range(1, len(events) + 1)),
        Measure.PAYLOAD: _running_largest([_largest_entry(journal, at) for at in range(len(events))]),
        Measure.MESSAGE: _running_largest(_message_sizes(journal)),
    }
    turns = [at for at, event in enumerate(events) if event.ends_turn]
    fitted = {measure: fit([values[at] for at in turns]) for measure, values in series.items()}
    return Course(
        now={measure: values[-1] if values else 0 for measure, values in series.items()},
        growth={measure: growth for measure, growth in fitted.items() if growth is not None},
    )


def _largest_entry(journal: Journal, at: int) -> int:
    return max((len(entry.content) for entry in journal.events[at].entries), default=0)


def _message_sizes(journal: Journal) -> list[int]:
    """For each event, what the message that it came in has had so far."""
    sizes: list[int] = []
    batches: dict[int, int] = {}
    for event in journal.events:
        if event.batch:
            batches[event.batch] = batches.get(event.batch, 0) + event.size
        sizes.append(batches.get(event.batch, 0))
    return sizes


def _running_largest(values: Sequence[int]) -> list[int]:
    return list(accumulate(values, max))
