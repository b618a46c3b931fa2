"""A diagnosis in words: what the report in the terminal and the page have in common."""

from coatcheck.doctor.diagnosis import Diagnosis
from coatcheck.doctor.journal import Form
from coatcheck.doctor.limits import Course, Distance, Limit, Measure

_KIB = 1024
_FAR = 1_000_000
"""Turns: what lies beyond is as good as never."""
_OURS = (Form.INLINE, Form.REFERENCE)
_MUCH = 0.2
"""Share of payload bytes from which on it is worth a sentence that they are carried again."""


def printable(name: str, width: int | None = None) -> str:
    """``name`` without anything that a terminal or a page would take for more than text.

    Args:
        name: From a history, which anybody may have named.
        width: Characters; what is longer loses its middle. None for any.
    """
    text = "".join(character if character.isprintable() else "\ufffd" for character in name)
    if width is None or len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[len(text) - half :]}"


def size(count: float) -> str:
    """A number of bytes, in units of 1,024."""
    amount, unit = count, "B"
    for larger in ("KiB", "MiB", "GiB"):
        # 1,023.96 would be written as 1024.0.
        if round(amount, 1) < _KIB:
            break
        amount, unit = amount / _KIB, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def amount(measure: Measure, count: int) -> str:
    """An amount of what is measured."""
    return f"{count:,}" if measure is Measure.EVENTS else size(count)


def limit(of: Limit) -> str:
    """The limit: ``50 MiB of history``."""
    return f"{amount(of.measure, of.value).replace('.0 ', ' ')} {of.measure}"


def turn(distance: Distance) -> str:
    """At which turn the limit is met."""
    if distance.turn is None:
        return "-"
    return "never" if distance.turn > _FAR else f"{distance.turn:,}"


def percent(share: float) -> str:
    """A share; what is there at all is never 0%."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"  # noqa: PLR2004 - half a percent


def verdict(diagnosis: Diagnosis) -> list[str]:
    """What it all comes to, a sentence or two each."""
    sentences = [growth(diagnosis.course), outlook(diagnosis), saving(diagnosis)]
    if diagnosis.carried.share > _MUCH:
        sentences.append(
            f"{percent(diagnosis.carried.share)} of what its plain payloads hold stood in the history before."
        )
    ours = [share for share in diagnosis.by_form if share.form in _OURS]
    if ours:
        sentences.append(
            f"{sum(share.count for share in ours):,} payloads are claim-checked already: "
            f"{size(sum(share.size for share in ours))} of history stand for "
            f"{size(sum(share.stands_for for share in ours))}."
        )
    return sentences


def growth(course: Course) -> str:
    """How the history grows."""
    grown = course.growth.get(Measure.HISTORY)
    if grown is None:
        turns = len(course.points[Measure.HISTORY])
        return f"Growth: it cannot be told after {turns} turn{'' if turns == 1 else 's'}."
    if not grown.steady:
        return "Growth: irregular. No forecast."
    rounds = f" over rounds of {grown.period} turns" if grown.period > 1 else ""
    now = f"A turn adds {size(grown.next_step)}{rounds}"
    return f"Growth: {grown.shape}. {now}" + (
        f" by now, and each adds {size(grown.slope)} more than the one before." if grown.is_bent else "."
    )


def outlook(diagnosis: Diagnosis) -> str:
    """Which limit ends the run, and when."""
    met = [distance for distance in diagnosis.distances if distance.limit.ends and distance.met]
    if met:
        said = ", of ".join(
            f"{limit(one.limit)} at turn {turn(one)} ({one.limit.consequence})" for one in met
        )
        return f"It has met the limit of {said}."
    ends = first_end(diagnosis.distances)
    if ends is None:
        told = Measure.HISTORY in diagnosis.course.growth
        return "No limit is in sight that would end it." if told else "It has met no limit that would end it."
    return (
        f"At this growth it hits the limit of {limit(ends.limit)} at turn {turn(ends)} (now {diagnosis.turns:,}): "
        f"{ends.limit.consequence}."
    )


def saving(diagnosis: Diagnosis) -> str:
    """What would be with a chain."""
    chained = diagnosis.prospect
    if not chained.objects:
        return f"With coatcheck: nothing more would be offloaded; {size(chained.size)} of history."
    times = diagnosis.size / chained.size if chained.size else 1.0
    less = f", {times:,.0f} times less" if times >= 2 else ""  # noqa: PLR2004 - from there on it is "times"
    ends = first_end(chained.distances)
    then = f" It then hits the limit of {limit(ends.limit)} at turn {turn(ends)}." if ends else ""
    objects = f"{chained.objects:,} object{'' if chained.objects == 1 else 's'}"
    return (
        f"With coatcheck: {size(chained.size)} of history{less}, and {size(chained.stored)} in a store "
        f"({objects}).{then}"
    )


def first_end(distances: list[Distance]) -> Distance | None:
    """The limit that ends the run first; None if none is in sight."""
    seen = [one for one in distances if one.limit.ends and one.turn is not None and one.turn <= _FAR]
    return min(seen, key=lambda one: one.turn or 0, default=None)
