"""A diagnosis in words, for both the tables and the page."""

from coatcheck.doctor.diagnosis import Diagnosis
from coatcheck.doctor.growth import Growth
from coatcheck.doctor.journal import Form
from coatcheck.doctor.limits import Course, Distance, Limit, Measure

_KIB = 1024
_FAR = 1_000_000
"""Turns beyond which a limit counts as never reached."""
_OURS = (Form.INLINE, Form.REFERENCE)
_MUCH = 0.2
"""Share of repeated payload bytes above which the report mentions them."""


def printable(name: str, width: int | None = None) -> str:
    """Return ``name`` without control characters, safe to show in a terminal or a page.

    Args:
        name: A name from a history; anybody may have chosen it.
        width: Most characters; a longer name loses its middle. None for no limit.
    """
    text = "".join(character if character.isprintable() else "\ufffd" for character in name)
    if width is None or len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[len(text) - half :]}"


def size(count: float) -> str:
    """Format a number of bytes, in units of 1,024."""
    amount, unit = count, "B"
    for larger in ("KiB", "MiB", "GiB"):
        # 1,023.96 would be written as 1024.0.
        if round(amount, 1) < _KIB:
            break
        amount, unit = amount / _KIB, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def amount(measure: Measure, count: int) -> str:
    """Format an amount of ``measure``."""
    return f"{count:,}" if measure is Measure.EVENTS else size(count)


def limit(of: Limit) -> str:
    """Format a limit: ``50 MiB of history``."""
    return f"{amount(of.measure, of.value).replace('.0 ', ' ')} {of.measure}"


def turn(distance: Distance) -> str:
    """Format the turn at which the limit is reached."""
    if distance.turn is None:
        return "-"
    return "never" if distance.turn > _FAR else f"{distance.turn:,}"


def percent(share: float) -> str:
    """Format a share as a percentage; only zero is 0%."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"  # noqa: PLR2004 - half a percent


def verdict(diagnosis: Diagnosis) -> list[str]:
    """Return the conclusions, one or two sentences each."""
    sentences = [growth(diagnosis.course), outlook(diagnosis), saving(diagnosis)]
    if diagnosis.carried.share > _MUCH:
        sentences.append(
            f"{percent(diagnosis.carried.share)} of the plain payloads' content repeats earlier content of the history."
        )
    ours = [share for share in diagnosis.by_form if share.form in _OURS]
    if ours:
        sentences.append(
            f"{sum(share.count for share in ours):,} payloads are already encoded by coatcheck: "
            f"{size(sum(share.size for share in ours))} of history instead of "
            f"{size(sum(share.stands_for for share in ours))}."
        )
    return sentences


def growth(course: Course) -> str:
    """Describe the growth of the history."""
    return growth_by(course.growth.get(Measure.HISTORY), len(course.points[Measure.HISTORY]), "turn")


def growth_by(grown: Growth | None, count: int, unit: str) -> str:
    """Describe a growth.

    Args:
        grown: None if there were too few points.
        count: Number of points.
        unit: The unit of the points: ``turn`` or ``step``.
    """
    if grown is None:
        return f"Growth: unknown, too few {unit}s ({count})."
    if not grown.steady:
        return "Growth: too irregular for a forecast."
    rounds = f", averaged over rounds of {grown.period} {unit}s" if grown.period > 1 else ""
    more = f", and each {unit} adds {size(grown.slope)} more than the one before" if grown.is_bent else ""
    return f"Growth: {grown.shape}. The next {unit} adds {size(grown.next_step)}{rounds}{more}."


def outlook(diagnosis: Diagnosis) -> str:
    """Name the limit that ends the run, and the turn."""
    met = [distance for distance in diagnosis.distances if distance.limit.ends and distance.met]
    if met:
        reached = ", ".join(
            f"{limit(one.limit)} at turn {turn(one)} ({one.limit.consequence})" for one in met
        )
        return f"Limit reached: {reached}."
    ends = first_end(diagnosis.distances)
    if ends is None:
        told = Measure.HISTORY in diagnosis.course.growth
        return "No limit ahead that ends the run." if told else "No limit reached that ends the run."
    return (
        f"At this growth the run reaches {limit(ends.limit)} at turn {turn(ends)} (now {diagnosis.turns:,}): "
        f"{ends.limit.consequence}."
    )


def saving(diagnosis: Diagnosis) -> str:
    """Describe the same journal with a chain."""
    chained = diagnosis.prospect
    if not chained.objects:
        return f"With coatcheck: {size(chained.size)} of history; nothing more would be offloaded."
    times = diagnosis.size / chained.size if chained.size else 1.0
    less = f" ({times:,.0f} times less)" if times >= 2 else ""  # noqa: PLR2004 - below it reads badly
    ends = first_end(chained.distances)
    then = f" It then reaches {limit(ends.limit)} at turn {turn(ends)}." if ends else ""
    objects = f"{chained.objects:,} object{'' if chained.objects == 1 else 's'}"
    return (
        f"With coatcheck: {size(chained.size)} of history{less}, and {size(chained.stored)} in a store "
        f"({objects}).{then}"
    )


def first_end(distances: list[Distance]) -> Distance | None:
    """Return the limit that ends the run first; None if none is ahead."""
    seen = [one for one in distances if one.limit.ends and one.turn is not None and one.turn <= _FAR]
    return min(seen, key=lambda one: one.turn or 0, default=None)
