"""A diagnosis of checkpoints in words, for both the tables and the page."""

from collections.abc import Iterator

from coatcheck.cli.doctor.words import growth_by, percent, size
from coatcheck.doctor.growth import Growth
from coatcheck.doctor.journal import Form
from coatcheck.doctor.threads import DatabaseDiagnosis, ThreadDiagnosis, forecast

_MUCH = 0.2
"""Share of repeated content above which the report mentions it."""
_HUNDREDTH = 0.01
_TWICE = 2
_MILESTONES = tuple(10**power * 2**30 for power in range(4))
"""1 GiB, and ten times as much each."""
_FAR = 1_000_000
"""Steps beyond which nothing is said."""
_OURS = (Form.INLINE, Form.REFERENCE)


def head(found: DatabaseDiagnosis) -> str:
    """Describe the database."""
    return f"{size(found.file_size)} with indexes, {size(found.size)} of rows, {_count(len(found.by_thread), 'thread')}"


def extent(found: DatabaseDiagnosis) -> str:
    """Say how much of the database was read value by value."""
    share = percent(found.examined / found.size if found.size else 0)
    if not found.threads:
        return "There are no checkpoints."
    return (
        f"Read value by value: {len(found.threads):,} of {_count(len(found.by_thread), 'thread')}, "
        f"the largest, with {share} of the bytes."
    )


def verdict(found: ThreadDiagnosis) -> Iterator[str]:
    """Yield the conclusions about a thread."""
    yield growth_by(found.growth, found.steps, "step")
    yield from _outlook(found)
    yield _saving(found)
    if found.carried.share > _MUCH:
        yield f"{percent(found.carried.share)} of the plain values' content repeats earlier content of the thread."
    if found.chained.untried:
        yield (
            f"{size(found.chained.untried)} are encrypted by LangGraph: they cannot be compared or tried without their key, "
            "and count as they are."
        )
    ours = [share for share in found.by_form if share.form in _OURS]
    if ours:
        yield (
            f"{sum(share.count for share in ours):,} values are already encoded by coatcheck: "
            f"{size(sum(share.size for share in ours))} instead of {size(sum(share.stands_for for share in ours))}."
        )


def ahead(found: ThreadDiagnosis) -> list[tuple[int, str, str]]:
    """Return steps, and the bytes then, without and with a chain."""
    plain, chained = dict(forecast(found.growth)), dict(forecast(found.chained.growth))
    return [
        (steps, _size(plain.get(steps)), _size(chained.get(steps))) for steps in sorted({*plain, *chained})
    ]


def is_worth_showing(found: ThreadDiagnosis) -> bool:
    """Return True if values that repeat byte for byte are a hundredth of the thread or more."""
    return bool(found.repeats) and found.repeated >= _HUNDREDTH * found.size


def _outlook(found: ThreadDiagnosis) -> Iterator[str]:
    reached = _milestone(found.growth, found.size)
    if reached is None:
        return
    mark, step = reached
    chained = found.chained.growth
    then = ""
    if chained is not None and chained.steady:
        late = chained.reaches(mark)
        then = (
            f"; with coatcheck at step {late:,}"
            if late is not None and late <= _FAR
            else "; with coatcheck not within a million steps"
        )
    yield f"At this growth the thread takes {size(mark).replace('.0 ', ' ')} at step {step:,} (now {found.steps:,}){then}."


def _milestone(growth: Growth | None, now: int) -> tuple[int, int] | None:
    mark = next((mark for mark in _MILESTONES if mark > now), None)
    if growth is None or not growth.steady or mark is None:
        return None
    step = growth.reaches(mark)
    return (mark, step) if step is not None and step <= _FAR else None


def _saving(found: ThreadDiagnosis) -> str:
    chained = found.chained
    together = chained.size + chained.stored
    times = found.size / together if together else 1.0
    less = f"; together {times:,.0f} times less" if times >= _TWICE else ""
    return (
        f"With coatcheck: {size(chained.size)} of rows, and {size(chained.stored)} in a store "
        f"({_count(chained.objects, 'object')}){less}."
    )


def _size(count: int | None) -> str:
    return "-" if count is None else size(count)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
