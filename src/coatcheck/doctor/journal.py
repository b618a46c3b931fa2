"""The model of a journal that the analysis works on: events, and the payloads in them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from coatcheck.errors import FormatError
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference


class Form(StrEnum):
    """The form of a payload in the journal."""

    PLAIN = "plain"
    INLINE = "coatcheck inline"
    REFERENCE = "coatcheck reference"
    EXTERNAL = "the engine's reference"
    """A reference to the engine's own external storage."""
    ENCRYPTED = "encrypted by the engine"
    """Sealed with a key of the engine's own encryption."""
    UNKNOWN = "coatcheck, unreadable"
    """Starts like ours, but is damaged or has a later version."""


class Recognised(NamedTuple):
    """The facts about our bytes that need no key."""

    form: Form
    stands_for: int
    """Bytes of the decoded payload."""


def recognise(data: bytes) -> Recognised:
    """Return the form of ``data``, which starts like ours. Nothing in it is verified."""
    try:
        if is_reference(data):
            return Recognised(Form.REFERENCE, Reference.from_bytes(data).size)
        return Recognised(Form.INLINE, Envelope.from_bytes(data).header.size)
    except FormatError:
        return Recognised(Form.UNKNOWN, len(data))


@dataclass(frozen=True, slots=True)
class JournalPayload:
    """One payload in the journal."""

    where: str
    """Its place in the event, unique there: ``result``, ``input[1]``, ``memo[note]``."""
    content: bytes = field(repr=False)
    """Its bytes in the journal, with metadata."""
    form: Form
    stands_for: int
    """Bytes of the decoded payload; for a plain one, those of ``content``."""

    @property
    def field(self) -> str:
        """The field, shared by all payloads of one call: ``input``."""
        return self.where.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the journal."""

    number: int
    kind: str
    size: int
    """Bytes, including payloads."""
    step: str = ""
    """The name of its step (Temporal: the activity type); empty for none."""
    ends_turn: bool = False
    """True if the workflow's code has answered with it (Temporal: a workflow task is completed)."""
    batch: int = 0
    """The number of the event in whose answer, one message, it was sent; 0 for none."""
    payloads: tuple[JournalPayload, ...] = ()


@dataclass(frozen=True, slots=True)
class Journal:
    """The engine's records of one run, in order."""

    case: str
    """The name of the run: ``WORKFLOW_ID/RUN_ID``."""
    events: tuple[Event, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(event.size for event in self.events)
