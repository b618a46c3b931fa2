"""All that is found out about one journal."""

from dataclasses import dataclass

from coatcheck.doctor.journal import Journal
from coatcheck.doctor.limits import Course, Distance, course
from coatcheck.doctor.places import FormShare, Place, Share, by_form, by_kind, by_step, largest, places
from coatcheck.doctor.repeats import Carried, Repeat, carried, repeats


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a journal holds, and where it is going."""

    case: str
    size: int
    """Bytes."""
    events: int
    turns: int
    by_kind: list[Share]
    by_step: list[Share]
    by_form: list[FormShare]
    largest: list[Place]
    course: Course
    repeats: list[Repeat]
    carried: Carried

    @property
    def distances(self) -> list[Distance]:
        """From each of the engine's limits."""
        return self.course.distances()


@dataclass(frozen=True, slots=True)
class Prospect:
    """The same journal as a chain would have written it."""

    over: int
    """Bytes after compression above which payloads were offloaded."""
    size: int
    """Bytes of the journal."""
    course: Course
    stored: int
    """Bytes in the store."""
    objects: int

    @property
    def distances(self) -> list[Distance]:
        """From each of the engine's limits."""
        return self.course.distances()


def diagnose(journal: Journal, top: int = 10) -> Diagnosis:
    """Find out everything about ``journal``.

    Args:
        journal: Which.
        top: How many of the largest payloads to name.
    """
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
        repeats=repeats(places(journal)),
        carried=carried(places(journal)),
    )


def prospect(journal: Journal, *, over: int, stored: int, objects: int) -> Prospect:
    """What would be with a chain.

    Args:
        journal: As the chain would have written it.
        over: Bytes after compression above which payloads were offloaded.
        stored: Bytes in the store.
        objects: How many they are in.
    """
    return Prospect(over, journal.size, course(journal), stored, objects)
