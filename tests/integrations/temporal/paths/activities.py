"""Activities that take, give back, remember and lose large payloads."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.integrations.temporal.paths.values import CANARY, large


@dataclass
class Meeting:
    """Where an activity and the test that runs beside it meet."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    token: bytes = b""


MEETINGS: defaultdict[str, Meeting] = defaultdict(Meeting)
"""By workflow ID."""
_ANNOUNCED: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Queue[str]] = WeakKeyDictionary()
STUMBLED: set[str] = set()
"""IDs of the workflows that stumbled once."""


def announced() -> asyncio.Queue[str]:
    """IDs of the workflows that announced themselves on this event loop."""
    return _ANNOUNCED.setdefault(asyncio.get_running_loop(), asyncio.Queue())


def meeting() -> Meeting:
    """That of the activity that asks."""
    return MEETINGS[activity.info().workflow_id or ""]


@activity.defn
async def echo(data: str) -> str:
    return data


@activity.defn
async def resume(data: str) -> str:
    """Heartbeat and fail; the next attempt gives back the detail once the test lets it go."""
    details = activity.info().heartbeat_details
    if not details:
        activity.heartbeat(data)
        raise ApplicationError("once more")
    meeting().arrived.set()
    await meeting().leave.wait()
    return str(details[0])


@activity.defn
async def time_out(data: str) -> None:
    """Heartbeat and never again."""
    activity.heartbeat(data)
    await asyncio.Event().wait()


@activity.defn
async def complete_later() -> str:
    """Somebody else has the result."""
    meeting().token = activity.info().task_token
    meeting().arrived.set()
    activity.raise_complete_async()


@activity.defn
async def fail(data: str) -> None:
    raise ApplicationError(f"{CANARY} in a message", data, type="Deliberate", non_retryable=True)


@activity.defn
async def idle() -> None:
    """Neither take nor give anything."""


@activity.defn
async def announce(data: str) -> str:
    """Say that a workflow runs whose ID the test cannot know beforehand."""
    await announced().put(activity.info().workflow_id or "")
    return data


@activity.defn
async def produce(number: int) -> str:
    """Something large that is like nothing else."""
    return large(f"product {number}")


ACTIVITIES: list[Callable[..., Any]] = [announce, complete_later, echo, fail, idle, produce, resume, time_out]
