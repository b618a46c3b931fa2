"""Temporal's event history as a journal, as it is and as it would be with a chain."""

import re
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from coatcheck.doctor.journal import Event, Form, Journal, JournalPayload, recognise
from coatcheck.errors import FormatError
from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec
from coatcheck.integrations.temporal.native import from_native, is_external

_NOT_CODED = frozenset({"header", "search_attributes"})
"""Fields whose payloads do not pass a codec, unless a client says so."""
_WRAPPERS = frozenset({"payloads", "fields", "indexed_fields"})
"""Fields that are all that their message has."""
_HOW_TO_WRITE_ONE = "Write one with `temporal workflow show --output json --workflow-id ID`."


def history_from_json(text: str | bytes) -> WorkflowHistory:
    """Read what ``temporal workflow show --output json`` printed, newest event first or last.

    Raises:
        FormatError: It is not a history, or not the whole one.
    """
    try:
        history = WorkflowHistory.from_json("", text.decode() if isinstance(text, bytes) else text)
    # What it raises depends on where it stumbles: KeyError, AttributeError, ParseError, ...
    except Exception:  # noqa: BLE001 - nothing of ours runs in there
        history = None
    # Out here, so that the original does not hang on to it: it quotes payloads.
    if history is None:
        raise FormatError("this is not an event history in JSON", _HOW_TO_WRITE_ONE)
    events = sorted(history.events, key=attrgetter("event_id"))
    if not events or not events[0].HasField("workflow_execution_started_event_attributes"):
        raise FormatError("this event history does not begin with the start of a workflow", _HOW_TO_WRITE_ONE)
    if [event.event_id for event in events] != list(range(1, len(events) + 1)):
        raise FormatError("this event history lacks events", _HOW_TO_WRITE_ONE)
    started = events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(started.workflow_id or "workflow", events)


def journal_of(history: WorkflowHistory, run_id: str = "") -> Journal:
    """Return the history in the terms of :mod:`coatcheck.doctor`. A turn ends with each workflow task that is completed.

    Args:
        history: The history; at least its first event.
        run_id: The run's ID, if known. The history itself only says in which run it began, which is not the same after a
            reset.
    """
    steps: dict[int, str] = {}
    events = tuple(_event(event, steps) for event in history.events)
    return Journal(f"{history.workflow_id}/{run_id or history.run_id}", events)


async def with_codec(event: HistoryEvent, codec: ClaimCheckCodec) -> HistoryEvent:
    """Return the event as it would be if its payloads had passed ``codec``.

    Payloads that are ours already, or in external storage, do not change. Call it with the events of a history in order:
    each payload of a run builds on earlier ones.

    Raises:
        CoatcheckError: The chain does not accept a payload.
    """
    copy = HistoryEvent()
    copy.CopyFrom(event)
    for where, payload in payloads_of(copy):
        if form_of(payload) is Form.PLAIN and not _NOT_CODED.intersection(re.split(r"[.[]", where)):
            (encoded,) = await codec.encode([payload])
            payload.CopyFrom(encoded)
    return copy


def payloads_of(event: HistoryEvent) -> Iterator[tuple[str, Payload]]:
    """Yield every payload in the event, with its place, which is unique in the event.

    Dots separate a field from its own fields; brackets hold the number of one of several payloads (from 0), or
    its key: ``result``, ``input[1]``, ``memo[note]``, ``failure.encoded_attributes``.
    """
    for field, value in event.ListFields():
        if field.message_type is not None:
            # All that is special to a kind of event is in one field, whose name says no more than the kind.
            yield from _within(field, value, "" if field.name.endswith("_event_attributes") else field.name)


def _within(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, Payload]]:
    for mark, message in _messages(field, value):
        at = path + mark
        if isinstance(message, Payload):
            yield at, message
            continue
        for inner, inner_value in message.ListFields():
            if inner.message_type is not None:
                name = "" if inner.name in _WRAPPERS else inner.name
                yield from _within(inner, inner_value, ".".join(filter(None, (at, name))))


def _messages(field: FieldDescriptor, value: Any) -> Iterable[tuple[str, Message]]:
    """Yield each payload with the label that distinguishes it in its field."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].message_type is None:
            return []
        # A map has no order of its own.
        return [(f"[{key}]", value[key]) for key in sorted(value)]
    if not field.is_repeated:
        return [("", value)]
    return [(f"[{at}]" if len(value) > 1 else "", message) for at, message in enumerate(value)]


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
        payloads=tuple(_journaled(where, payload) for where, payload in payloads_of(event)),
    )


def _kind(event: HistoryEvent) -> str:
    """Return the type as Temporal's own tools call it: ``ActivityTaskScheduled``."""
    try:
        name = EventType.Name(event.event_type)
    except ValueError:
        return f"event type {int(event.event_type)}"
    return "".join(word.capitalize() for word in name.removeprefix("EVENT_TYPE_").split("_"))


def _journaled(where: str, payload: Payload) -> JournalPayload:
    content = payload.SerializeToString(deterministic=True)
    form = form_of(payload)
    if form is Form.PLAIN:
        return JournalPayload(where, content, form, len(content))
    if form is Form.INLINE:
        return JournalPayload(where, content, *recognise(payload.data))
    try:
        native = from_native(payload)
    except FormatError:
        return JournalPayload(where, content, Form.UNKNOWN, len(content))
    if native is not None:
        return JournalPayload(where, content, *recognise(native.data))
    return JournalPayload(where, content, form, sum(part.size_bytes for part in payload.external_payloads))


def form_of(payload: Payload) -> Form:
    """Return the payload's form; ``INLINE`` stands for all of ours, ``EXTERNAL`` for all references of Temporal's own kind."""
    if payload.external_payloads or is_external(payload):
        return Form.EXTERNAL
    return Form.INLINE if payload.metadata.get("encoding") == ENCODING else Form.PLAIN
