"""Figures of a workflow's event history in Temporal."""

from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle


@dataclass(frozen=True, slots=True)
class History:
    """The figures of one workflow's history."""

    status: str
    """The server's status in lower case: ``completed``, ``terminated``, ``timed out``."""
    reason: str
    """The server's reason for terminating it; else empty."""
    size: int
    """Bytes, as counted by the server."""
    largest_event: int
    """Bytes."""
    events: int
    size_after_turn: tuple[int, ...]
    """Bytes up to and including the end of each turn's step, in the order of the turns."""
    retried_steps: int
    """Number of steps completed by a second or later attempt."""
    workers: frozenset[str]
    """The worker processes that took steps."""


async def read_history(handle: WorkflowHandle[Any, Any]) -> History:
    """Read the history of a workflow that has ended, in whatever way."""
    size = largest = events = retried = 0
    after_turn: list[int] = []
    workers: set[str] = set()
    reason = ""
    async for event in handle.fetch_history_events():
        events += 1
        size += event.ByteSize()
        largest = max(largest, event.ByteSize())
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            workers.add(started.identity)
            retried += started.attempt > 1
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            after_turn.append(size)
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
            reason = event.workflow_execution_terminated_event_attributes.reason
    described = await handle.describe()
    return History(
        status=described.status.name.lower().replace("_", " ") if described.status else "unknown",
        reason=reason,
        size=described.raw_description.workflow_execution_info.history_size_bytes,
        largest_event=largest,
        events=events,
        size_after_turn=tuple(after_turn),
        retried_steps=retried,
        workers=frozenset(workers),
    )
