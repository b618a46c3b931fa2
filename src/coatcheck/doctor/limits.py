"""The engine's limits, a journal's distance from them, and the turn at which it will reach them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from coatcheck.doctor.growth import Growth, fit
from coatcheck.doctor.journal import Event, Journal

_MIB = 2**20


class Measure(StrEnum):
    """The thing that is limited, worded to follow an amount."""

    HISTORY = "of history"
    EVENTS = "events"
    PAYLOAD = "a payload"
    """All payloads of one call count as one: Temporal limits the arguments of an activity together."""
    MESSAGE = "a message"
    """The answer of the workflow's code that completes a workflow task, with all payloads."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One of the engine's limits."""

    name: str
    """The name in records: ``history_50mb``."""
    measure: Measure
    value: int
    """Bytes, or events."""
    consequence: str
    ends: bool
    """True if the run cannot continue once the limit is reached."""


TEMPORAL: tuple[Limit, ...] = (
    Limit("history_10mb", Measure.HISTORY, 10 * _MIB, "the server warns", ends=False),
    Limit("history_50mb", Measure.HISTORY, 50 * _MIB, "the workflow is terminated", ends=True),
    Limit("events_10240", Measure.EVENTS, 10_240, "the server warns", ends=False),
    Limit("events_51200", Measure.EVENTS, 51_200, "the workflow is terminated", ends=True),
    Limit("payload_2mb", Measure.PAYLOAD, 2 * _MIB, "the server refuses it", ends=True),
    Limit("message_4mb", Measure.MESSAGE, 4 * _MIB, "the workflow task fails", ends=True),
)
"""Limits of a self-hosted server with its default settings; Temporal Cloud has the same. Sizes are in units of 1,024,
which Temporal's documentation writes as MB."""


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance of a journal from one limit."""

    limit: Limit
    now: int
    turn: int | None
    """The turn at which the limit was reached, or will be at the present growth; None for never or unknown."""

    @property
    def met(self) -> bool:
        """True if the limit has been reached."""
        return self.now >= self.limit.value

    @property
    def share(self) -> float:
        """The share of the limit that is used."""
        return self.now / self.limit.value


@dataclass(frozen=True, slots=True)
class Course:
    """Each measure turn by turn, and its present value."""

    now: dict[Measure, int]
    points: dict[Measure, tuple[int, ...]]
    """Values at the end of each turn."""
    growth: dict[Measure, Growth]
    """Empty if there were too few turns."""

    def distances(self, limits: Sequence[Limit] = TEMPORAL) -> list[Distance]:
        """Return the distance from each limit."""
        return [Distance(limit, self.now[limit.measure], self._turn(limit)) for limit in limits]

    def _turn(self, limit: Limit) -> int | None:
        points = self.points[limit.measure]
        if self.now[limit.measure] >= limit.value:
            met = (turn for turn, value in enumerate(points, 1) if value >= limit.value)
            return next(met, len(points) + 1)
        growth = self.growth.get(limit.measure)
        return growth.reaches(limit.value) if growth and growth.steady else None


def course(journal: Journal) -> Course:
    """Follow every measure through ``journal``.

    A turn ends with the last event that its answer wrote. Later events belong to an unfinished turn and do not count
    towards the growth.
    """
    events = journal.events
    series = {
        Measure.HISTORY: list(accumulate(event.size for event in events)),
        Measure.EVENTS: list(range(1, len(events) + 1)),
        Measure.PAYLOAD: list(accumulate(map(_largest_call, events), max)),
        Measure.MESSAGE: list(accumulate(_message_sizes(journal), max)),
    }
    ends = [_last_of_turn(events, at) for at, event in enumerate(events) if event.ends_turn]
    points = {measure: tuple(values[at] for at in ends) for measure, values in series.items()}
    fitted = {measure: fit(values) for measure, values in points.items()}
    return Course(
        now={measure: values[-1] if values else 0 for measure, values in series.items()},
        points=points,
        growth={measure: growth for measure, growth in fitted.items() if growth is not None},
    )


def _last_of_turn(events: Sequence[Event], at: int) -> int:
    """Index of the last event of the turn that the event at ``at`` ends."""
    number = events[at].number
    while at + 1 < len(events) and events[at + 1].batch == number:
        at += 1
    return at


def _largest_call(event: Event) -> int:
    sizes: dict[str, int] = {}
    for payload in event.payloads:
        sizes[payload.field] = sizes.get(payload.field, 0) + len(payload.content)
    return max(sizes.values(), default=0)


def _message_sizes(journal: Journal) -> list[int]:
    """For each event, the bytes so far of the message that it came in."""
    sizes: list[int] = []
    batches: dict[int, int] = {}
    for event in journal.events:
        if event.batch:
            batches[event.batch] = batches.get(event.batch, 0) + event.size
        sizes.append(batches.get(event.batch, 0))
    return sizes
