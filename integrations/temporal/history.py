"""Temporal's event history as a journal, and as it would be with a chain."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from coatcheck.doctor.journal import Entry, Event, Form, Journal, recognise
from coatcheck.errors import FormatError
from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec

_NOT_CODED = frozenset({"header", "search_attributes"})
"""Fields whose payloads do not pass a codec, unless a client says so."""


def history_from_json(case: str, text: str | bytes) -> WorkflowHistory:
    """Read what ``temporal workflow show --output json`` printed.

    Args:
        case: What the run is called if the history does not say it.
        text: The JSON.

    Raises:
        FormatError: It is something else.
    """
    try:
        history = WorkflowHistory.from_json(case, text.decode() if isinstance(text, bytes) else text)
    # What it raises depends on where it stumbles: KeyError, AttributeError, ParseError, ...
    except Exception as error:
        raise FormatError(
            "this is no event history in JSON",
            "Write one with `temporal workflow show --output json`, without shorthand payloads.",
        ) from error
    if not history.events:
        raise FormatError("this event history has no events", "Check the workflow ID it was written for.")
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(started.workflow_id or case, history.events)


def journal_of(history: WorkflowHistory) -> Journal:
    """The history in the terms of :mod:`coatcheck.doctor`. A turn ends with each workflow task that is completed."""
    steps: dict[int, str] = {}
    return Journal(history.workflow_id, tuple(_event(event, steps) for event in history.events))


async def with_codec(history: WorkflowHistory, codec: ClaimCheckCodec) -> WorkflowHistory:
    """The history as it would be if every payload had passed ``codec``, one after the other.

    What is ours already, or in external storage, is left as it is.

    Raises:
        CoatcheckError: The chain does not take a payload.
    """
    changed: list[HistoryEvent] = []
    for event in history.events:
        copy = HistoryEvent()
        copy.CopyFrom(event)
        for where, payload in payloads_of(copy):
            if _form(payload) is Form.PLAIN and not _NOT_CODED.intersection(where.split(".")):
                # In order and one by one, as a run writes them: later ones build on earlier ones.
                (encoded,) = await codec.encode([payload])
                payload.CopyFrom(encoded)
        changed.append(copy)
    return WorkflowHistory(history.workflow_id, changed)


def payloads_of(event: HistoryEvent) -> Iterator[tuple[str, Payload]]:
    """Every payload in the event, with the field that holds it; dots stand between a field and its own fields."""
    for field, value in event.ListFields():
        if field.message_type is not None:
            # All that is special to a kind of event is in one field, whose name says no more than the kind.
            within = "" if field.name.endswith("_event_attributes") else field.name
            yield from _within(field, value, within)


def _within(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, Payload]]:
    for message in _messages(field, value):
        if isinstance(message, Payload):
            yield path, message
            continue
        for inner, inner_value in message.ListFields():
            if inner.message_type is not None:
                name = "" if inner.name in {"payloads", "fields", "indexed_fields"} else inner.name
                yield from _within(inner, inner_value, ".".join(filter(None, (path, name))))


def _messages(field: FieldDescriptor, value: Any) -> Iterable[Message]:
    if field.message_type.GetOptions().map_entry:
        held = field.message_type.fields_by_name["value"]
        return value.values() if held.message_type is not None else ()
    return value if field.is_repeated else (value,)


def _event(event: HistoryEvent, steps: dict[int, str]) -> Event:
    """``steps`` has the activity types by the events that scheduled them, and gets this one's."""
    attributes = getattr(event, event.WhichOneof("attributes") or "", None)
    activity = getattr(attributes, "activity_type", None)
    if activity is not None:
        steps[event.event_id] = activity.name
    return Event(
        number=event.event_id,
        kind=_kind(event),
        size=event.ByteSize(),
        step=steps.get(event.event_id) or steps.get(getattr(attributes, "scheduled_event_id", 0), ""),
        ends_turn=event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        batch=getattr(attributes, "workflow_task_completed_event_id", 0),
        entries=tuple(_entry(where, payload) for where, payload in payloads_of(event)),
    )


def _kind(event: HistoryEvent) -> str:
    """As Temporal's own tools call it: ``ActivityTaskScheduled``."""
    try:
        name = EventType.Name(event.event_type)
    except ValueError:
        return f"event type {int(event.event_type)}"
    return "".join(word.capitalize() for word in name.removeprefix("EVENT_TYPE_").split("_"))


def _entry(where: str, payload: Payload) -> Entry:
    content = payload.SerializeToString(deterministic=True)
    form = _form(payload)
    if form is Form.EXTERNAL:
        return Entry(where, content, form, sum(part.size_bytes for part in payload.external_payloads))
    if form is Form.PLAIN:
        return Entry(where, content, form, len(content))
    return Entry(where, content, *recognise(payload.data))


def _form(payload: Payload) -> Form:
    """``INLINE`` stands for all that is ours."""
    if payload.external_payloads:
        return Form.EXTERNAL
    return Form.INLINE if payload.metadata.get("encoding") == ENCODING else Form.PLAIN
