"""All that is found out about one journal. It holds sizes and names, and no payload."""

from dataclasses import dataclass

from coatcheck.doctor.journal import Journal
from coatcheck.doctor.limits import Course, Distance, course
from coatcheck.doctor.places import FormShare, Place, Share, by_form, by_kind, by_step, largest
from coatcheck.doctor.repeats import Carried, Repeat, carried, repeats


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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a journal holds, and where it is going."""

    case: str
    size: int
    """Bytes."""
    events: int
    turns: int
    """That have ended."""
    by_kind: list[Share]
    by_step: list[Share]
    by_form: list[FormShare]
    largest: list[Place]
    course: Course
    repeats: list[Repeat]
    """Those that cost most."""
    repeated: int
    """Bytes of all payloads that stood in the journal before, byte for byte."""
    carried: Carried
    prospect: Prospect
    """With a chain."""

    @property
    def distances(self) -> list[Distance]:
        """From each of the engine's limits."""
        return self.course.distances()


def prospect(journal: Journal, *, over: int, stored: int, objects: int) -> Prospect:
    """What would be with a chain.

    Args:
        journal: As the chain would have written it.
        over: Bytes after compression above which payloads were offloaded.
        stored: Bytes in the store.
        objects: How many they are in.
    """
    return Prospect(over, journal.size, course(journal), stored, objects)


def diagnose(journal: Journal, with_chain: Prospect, *, top: int = 10) -> Diagnosis:
    """Find out everything about ``journal``.

    Args:
        journal: Which.
        with_chain: The same, as a chain would have written it.
        top: How many of the largest payloads, and of those that repeat, to name.
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
