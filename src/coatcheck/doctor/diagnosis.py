"""The full analysis of one journal: sizes and names, no payloads."""

from dataclasses import dataclass

from coatcheck.doctor.journal import Journal
from coatcheck.doctor.limits import Course, Distance, course
from coatcheck.doctor.places import FormShare, Place, Share, by_form, by_kind, by_step, largest
from coatcheck.doctor.repeats import Carried, Repeat, carried, repeats


@dataclass(frozen=True, slots=True)
class Prospect:
    """The forecast for the same journal, written with a chain."""

    over: int
    """Threshold in bytes: larger payloads, after compression, were offloaded."""
    size: int
    """Bytes of the journal."""
    course: Course
    stored: int
    """Bytes in the store."""
    objects: int

    @property
    def distances(self) -> list[Distance]:
        """Distances from each of the engine's limits."""
        return self.course.distances()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings about one journal."""

    case: str
    size: int
    """Bytes."""
    events: int
    turns: int
    """Turns that have ended."""
    by_kind: list[Share]
    by_step: list[Share]
    by_form: list[FormShare]
    largest: list[Place]
    course: Course
    repeats: list[Repeat]
    """The most expensive ones first."""
    repeated: int
    """Bytes of all payloads that are exact copies of an earlier one in the journal."""
    carried: Carried
    prospect: Prospect
    """The same journal with a chain."""

    @property
    def distances(self) -> list[Distance]:
        """Distances from each of the engine's limits."""
        return self.course.distances()


def prospect(journal: Journal, *, over: int, stored: int, objects: int) -> Prospect:
    """Build the forecast for a journal with a chain.

    Args:
        journal: The journal as the chain would have written it.
        over: Threshold in bytes: larger payloads, after compression, were offloaded.
        stored: Bytes in the store.
        objects: Number of objects in the store.
    """
    return Prospect(over, journal.size, course(journal), stored, objects)


def diagnose(journal: Journal, with_chain: Prospect, *, top: int = 10) -> Diagnosis:
    """Analyse ``journal``.

    Args:
        journal: The journal as it is.
        with_chain: The forecast for the same journal with a chain.
        top: Number of the largest payloads, and of the repeated ones, to list.
    """
    again = repeats(journal)
    return Diagnosis(
        case=journal.case,
        size=journal.size,
        events=len(journal.events),
        turns=sum(event.ends_turn for event in journal.events),
        by_kind=by_kind(journal),
        by_step=by_step(journal),
        by_form=by_form(journal),
        largest=largest(journal, top),
        course=course(journal),
        repeats=again[:top],
        repeated=sum(repeat.again for repeat in again),
        carried=carried(journal),
        prospect=with_chain,
    )
