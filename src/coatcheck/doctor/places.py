"""Where the bytes of a journal are."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from coatcheck.doctor.journal import Entry, Event, Form, Journal


@dataclass(slots=True)
class Share:
    """What falls to one name."""

    name: str
    count: int = 0
    size: int = 0
    """Bytes."""
    payloads: int = 0
    """Bytes of them that are payloads."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one payload stands, and what is known of it; not its content."""

    number: int
    """Of its event."""
    kind: str
    """Of its event."""
    step: str
    """Of its event; empty for none."""
    where: str
    """In its event."""
    form: Form
    size: int
    """Bytes in the journal."""
    stands_for: int
    """Bytes of the payload itself."""


@dataclass(slots=True)
class FormShare:
    """The payloads that stand in the journal in one form."""

    form: Form
    count: int = 0
    size: int = 0
    """Bytes in the journal."""
    stands_for: int = 0
    """Bytes of the payloads themselves."""


def place_of(event: Event, entry: Entry) -> Place:
    """Where ``entry``, which is one of ``event``, stands."""
    return Place(
        event.number, event.kind, event.step, entry.where, entry.form, len(entry.content), entry.stands_for
    )


def places(journal: Journal) -> Iterator[Place]:
    """Every payload, in the order of the journal."""
    return (place_of(event, entry) for event in journal.events for entry in event.entries)


def by_kind(journal: Journal) -> list[Share]:
    """Events by their kind, the largest share first."""
    return _shares(journal.events, attrgetter("kind"))


def by_step(journal: Journal) -> list[Share]:
    """Events by the step that they are about, those of no step left out; the largest share first."""
    return _shares((event for event in journal.events if event.step), attrgetter("step"))


def by_form(journal: Journal) -> list[FormShare]:
    """Payloads by their form, those left out that do not occur."""
    found: dict[Form, FormShare] = {}
    for place in places(journal):
        share = found.setdefault(place.form, FormShare(place.form))
        share.count += 1
        share.size += place.size
        share.stands_for += place.stands_for
    return [found[form] for form in Form if form in found]


def largest(journal: Journal, count: int) -> list[Place]:
    """The largest payloads, the largest first; of equals the earliest."""
    return sorted(places(journal), key=attrgetter("size"), reverse=True)[:count]


def _shares(events: Iterable[Event], name_of: Callable[[Event], str]) -> list[Share]:
    shares: dict[str, Share] = {}
    for event in events:
        share = shares.setdefault(name_of(event), Share(name_of(event)))
        share.count += 1
        share.size += event.size
        share.payloads += sum(len(entry.content) for entry in event.entries)
    return sorted(shares.values(), key=attrgetter("size"), reverse=True)
