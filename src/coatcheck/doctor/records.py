"""Machine-readable records of a diagnosis."""

from collections.abc import Iterator
from typing import TypedDict

from coatcheck.doctor.diagnosis import Diagnosis, Prospect
from coatcheck.doctor.growth import Growth
from coatcheck.doctor.limits import Distance, Measure
from coatcheck.doctor.repeats import Carried, Repeat


class Record(TypedDict):
    """One figure."""

    case: str
    name: str
    value: str | int | float | None
    """None if it is unknown or never happens."""
    unit: str


Figure = tuple[str, str | int | float | None, str]
"""A name, a value and its unit."""


def records(diagnosis: Diagnosis) -> list[Record]:
    """Return every figure of one journal, as it is and with a chain."""
    figures = [*_of(diagnosis), *_with_chain(diagnosis.prospect)]
    return [Record(case=diagnosis.case, name=name, value=value, unit=unit) for name, value, unit in figures]


def _of(diagnosis: Diagnosis) -> Iterator[Figure]:
    yield "history_bytes", diagnosis.size, "bytes"
    yield "events", diagnosis.events, "count"
    yield "turns", diagnosis.turns, "count"
    yield "payload_bytes", sum(share.size for share in diagnosis.by_form), "bytes"
    yield from growth_figures(diagnosis.course.growth.get(Measure.HISTORY), "turn")
    yield from _limits(diagnosis.distances)
    for share in diagnosis.by_kind:
        yield f"event_type/{share.name}", share.size, "bytes"
    for share in diagnosis.by_step:
        yield f"activity/{share.name}", share.size, "bytes"
    for form in diagnosis.by_form:
        yield f"form/{form.form}/payloads", form.count, "count"
        yield f"form/{form.form}/history", form.size, "bytes"
        yield f"form/{form.form}/stands_for", form.stands_for, "bytes"
    for place in diagnosis.largest:
        yield f"largest/{place.number}/{place.where}", place.size, "bytes"
    yield from repeated_figures(diagnosis.repeats, diagnosis.repeated, diagnosis.carried)


def _with_chain(prospect: Prospect) -> Iterator[Figure]:
    yield "chain/over", prospect.over, "bytes"
    yield "chain/history_bytes", prospect.size, "bytes"
    yield "chain/stored_bytes", prospect.stored, "bytes"
    yield "chain/objects", prospect.objects, "count"
    growth = prospect.course.growth.get(Measure.HISTORY)
    for name, value, unit in (*growth_figures(growth, "turn"), *_limits(prospect.distances)):
        yield f"chain/{name}", value, unit


def growth_figures(growth: Growth | None, unit: str) -> Iterator[Figure]:
    """Yield the figures of a growth.

    Args:
        growth: None if there were too few points.
        unit: The unit of its points: ``turn`` or ``step``.
    """
    yield "growth", (growth.shape.value if growth.steady else "irregular") if growth else None, "text"
    if growth:
        yield "growth_period", growth.period, f"{unit}s"
        yield f"growth_of_next_{unit}", round(growth.next_step, 1), "bytes"
        yield f"growth_per_{unit}", round(growth.mean, 1), "bytes"
        yield f"growth_of_growth_per_{unit}", round(growth.slope, 1), "bytes"
        yield "linear_fit_error", round(growth.linear_error, 5), "share"
        yield "quadratic_fit_error", round(growth.quadratic_error, 5), "share"
        yield "growth_is_steady", int(growth.steady), "bool"


def repeated_figures(repeats: list[Repeat], repeated: int, carried: Carried) -> Iterator[Figure]:
    """Yield the figures of repeated content.

    Args:
        repeats: Those to list.
        repeated: Bytes of all.
        carried: Content that occurred earlier.
    """
    for repeat in repeats:
        first = repeat.places[0]
        yield f"repeated/{first.number}/{first.where}/times", len(repeat.places), "count"
        yield f"repeated/{first.number}/{first.where}/again", repeat.again, "bytes"
    yield "repeated_bytes", repeated, "bytes"
    yield "carried_again_bytes", carried.again, "bytes"
    yield "carried_again_share", round(carried.share, 4), "share"


def _limits(distances: list[Distance]) -> Iterator[Figure]:
    for distance in distances:
        yield f"limit/{distance.limit.name}/now", distance.now, _unit(distance)
        yield f"limit/{distance.limit.name}/share", round(distance.share, 5), "share"
        yield f"limit/{distance.limit.name}/at_turn", distance.turn, "turn"


def _unit(distance: Distance) -> str:
    return "count" if distance.limit.measure is Measure.EVENTS else "bytes"
