"""A journal in the terms that all of the analysis is written in: events, and the payloads in them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from coatcheck.errors import FormatError
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference


class Form(StrEnum):
    """In what form a payload stands in the journal."""

    PLAIN = "plain"
    INLINE = "coatcheck inline"
    REFERENCE = "coatcheck reference"
    EXTERNAL = "the engine's reference"
    """To what the engine's own external storage keeps."""
    UNKNOWN = "coatcheck, unreadable"
    """Says that it is ours, but is damaged or of a later version."""


class Recognised(NamedTuple):
    """What can be told of bytes of ours without a key."""

    form: Form
    stands_for: int
    """Bytes of the payload."""


def recognise(data: bytes) -> Recognised:
    """What ``data`` is, which says that it is ours. Nothing in it is verified."""
    try:
        if is_reference(data):
            return Recognised(Form.REFERENCE, Reference.from_bytes(data).size)
        return Recognised(Form.INLINE, Envelope.from_bytes(data).header.size)
    except FormatError:
        return Recognised(Form.UNKNOWN, len(data))


@dataclass(frozen=True, slots=True)
class Entry:
    """One payload in the journal."""

    where: str
    """Where in its event it stands, as nothing else there does: ``result``, ``input[1]``, ``memo[note]``."""
    content: bytes = field(repr=False)
    """As it stands there, metadata and all."""
    form: Form
    stands_for: int
    """Bytes of the payload; those of ``content`` for a plain one."""

    @property
    def field(self) -> str:
        """The field that it shares with the other payloads of one call: ``input``."""
        return self.where.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the journal."""

    number: int
    kind: str
    size: int
    """Bytes, payloads included."""
    step: str = ""
    """The name of the step (Temporal: the activity type) that it is about; empty for none."""
    ends_turn: bool = False
    """Whether with it the workflow's code has answered once more (Temporal: a workflow task is completed)."""
    batch: int = 0
    """The number of the event whose answer it was part of, in one message; 0 for none."""
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Journal:
    """Everything that the engine has written of one run, in order."""

    case: str
    """What the run is called: ``WORKFLOW_ID/RUN_ID``."""
    events: tuple[Event, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(event.size for event in self.events)
