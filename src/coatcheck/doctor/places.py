"""Places of the bytes in a journal."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from coatcheck.doctor.journal import Event, Form, Journal, JournalPayload


@dataclass(slots=True)
class Share:
    """The events of one name, and their sizes."""

    name: str
    count: int = 0
    size: int = 0
    """Bytes."""
    payloads: int = 0
    """Bytes of payloads among them."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one payload and its sizes, without its content."""

    number: int
    """The event's number."""
    kind: str
    """The event's kind."""
    step: str
    """The event's step; empty for none."""
    where: str
    """The place in the event."""
    form: Form
    size: int
    """Bytes in the journal."""
    stands_for: int
    """Bytes of the decoded payload."""


@dataclass(slots=True)
class FormShare:
    """The payloads of one form."""

    form: Form
    count: int = 0
    size: int = 0
    """Bytes in the journal."""
    stands_for: int = 0
    """Bytes of the decoded payloads."""


def place_of(event: Event, payload: JournalPayload) -> Place:
    """Return the place of ``payload``, which belongs to ``event``."""
    return Place(
        event.number,
        event.kind,
        event.step,
        payload.where,
        payload.form,
        len(payload.content),
        payload.stands_for,
    )


def places(journal: Journal) -> Iterator[Place]:
    """Return the places of all payloads, in the order of the journal."""
    return (place_of(event, payload) for event in journal.events for payload in event.payloads)


def by_kind(journal: Journal) -> list[Share]:
    """Group events by kind, the largest share first."""
    return _shares(journal.events, attrgetter("kind"))


def by_step(journal: Journal) -> list[Share]:
    """Group events by step, the largest share first. Events without a step are left out."""
    return _shares((event for event in journal.events if event.step), attrgetter("step"))


def by_form(journal: Journal) -> list[FormShare]:
    """Group payloads by form. Forms that do not occur are left out."""
    found: dict[Form, FormShare] = {}
    for place in places(journal):
        share = found.setdefault(place.form, FormShare(place.form))
        share.count += 1
        share.size += place.size
        share.stands_for += place.stands_for
    return [found[form] for form in Form if form in found]


def largest(journal: Journal, count: int) -> list[Place]:
    """Return the ``count`` largest payloads, the largest first; among equals the earliest first."""
    return sorted(places(journal), key=attrgetter("size"), reverse=True)[:count]


def _shares(events: Iterable[Event], name_of: Callable[[Event], str]) -> list[Share]:
    shares: dict[str, Share] = {}
    for event in events:
        share = shares.setdefault(name_of(event), Share(name_of(event)))
        share.count += 1
        share.size += event.size
        share.payloads += sum(len(payload.content) for payload in event.payloads)
    return sorted(shares.values(), key=attrgetter("size"), reverse=True)
