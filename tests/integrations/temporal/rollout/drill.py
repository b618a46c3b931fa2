"""The drill: at each step a new process takes over everything that is in flight."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    ScheduleSpec,
)

from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.fresh import Fresh
from tests.integrations.temporal.rollout.steps import LAST_SEALED, STEPS, plugins_of
from tests.integrations.temporal.rollout.work import Diary, InFlight
from tests.integrations.temporal.workflows import text

_LARGE = 6_000
PATIENT = timedelta(seconds=60)
"""For a workflow task: a busy machine is no fault of a roll-out, and a task that fails does so at once."""
"""Bytes: some times as large as what stays inline."""


def has_failed(event: HistoryEvent) -> bool:
    """Whether it tells of a workflow task that a worker took and did not complete.

    One that waited for the worker before it, which is gone, was taken by nobody.
    """
    timed_out = event.workflow_task_timed_out_event_attributes
    return event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED or (
        event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
        and timed_out.timeout_type != TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
    )


@dataclass
class Drill:
    """What is in flight, and what was seen of it."""

    server: TemporalServer
    folder: Path
    fresh: Fresh
    queue: str = field(default_factory=lambda: f"rollout-{uuid4()}")
    said: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By the ID of each run in flight: what it will give back."""
    seen: list[str] = field(default_factory=list[str])
    """The IDs of all workflows that ran."""
    diaries: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By schedule: the IDs of its workflows."""

    async def go(self) -> None:
        """Roll out, and back."""
        async with AsyncExitStack() as stack:
            for step in STEPS:
                client = await Client.connect(
                    self.server.address, plugins=plugins_of(step, self.folder / "store")
                )
                if step in {"plain", "full"}:
                    await stack.enter_async_context(self._schedule(client, step))
                await self._take(step, client)

    async def failed_tasks(self) -> list[str]:
        """Return every event that tells of a workflow task that failed."""
        client = await Client.connect(self.server.address)
        return [
            f"{workflow_id}: {event}"
            for workflow_id in self.seen
            async for event in client.get_workflow_handle(workflow_id).fetch_history_events()
            if has_failed(event)
        ]

    async def _take(self, step: str, client: Client) -> None:
        """Everything is asked for before the worker of this step is there to do it."""
        started = await client.start_workflow(
            InFlight.run,
            text(_LARGE, step),
            id=f"{step}-{uuid4()}",
            task_queue=self.queue,
            task_timeout=PATIENT,
        )
        self.seen.append(started.id)
        updates = [
            asyncio.ensure_future(self._say(client, workflow_id, f"{step} to {workflow_id}"))
            for workflow_id in self.said
        ]
        self.said[started.id] = [text(_LARGE, step)[::-1]]
        diaries = [asyncio.ensure_future(self._write(client, schedule)) for schedule in self.diaries]
        async with self.fresh.running(
            "tests.integrations.temporal.rollout.worker",
            self.server.address,
            self.queue,
            str(self.folder / "store"),
            step,
        ):
            await asyncio.gather(*updates, *diaries)
            await self._say(client, started.id, f"{step} once more")
            if step == "back":
                # What has sealed payloads in its history needs the chain for as long as it runs; so do its schedules.
                await self._finish(
                    client, [one for one in self.said if STEPS.index(_step(one)) <= STEPS.index(LAST_SEALED)]
                )
                self.diaries.pop("full")
            if step == STEPS[-1]:
                await self._finish(client, list(self.said))

    async def _say(self, client: Client, workflow_id: str, what: str) -> None:
        data = text(_LARGE, what)
        handle = client.get_workflow_handle(workflow_id)
        assert await handle.execute_update(InFlight.say, data) == data
        assert await handle.query(InFlight.last) == data
        self.seen.append(f"{workflow_id}-{len(self.said[workflow_id])}")
        self.said[workflow_id].append(data)

    async def _finish(self, client: Client, workflow_ids: Sequence[str]) -> None:
        for workflow_id in workflow_ids:
            handle = client.get_workflow_handle(workflow_id)
            await handle.signal(InFlight.finish)
            assert await handle.result() == self.said.pop(workflow_id)

    @asynccontextmanager
    async def _schedule(self, client: Client, step: str) -> AsyncIterator[None]:
        schedule = await client.create_schedule(
            f"{self.queue}-{step}",
            Schedule(
                action=ScheduleActionStartWorkflow(
                    Diary.run,
                    text(_LARGE, step),
                    id=f"{self.queue}-{step}",
                    task_queue=self.queue,
                    memo={"note": text(_LARGE, "note")},
                    task_timeout=PATIENT,
                ),
                spec=ScheduleSpec(),
            ),
            memo={"note": text(_LARGE, "of the schedule")},
        )
        self.diaries[step] = []
        try:
            yield
        finally:
            await schedule.delete()

    async def _write(self, client: Client, step: str) -> None:
        """Have the schedule start its next workflow, which has what all before it wrote."""
        schedule = client.get_schedule_handle(f"{self.queue}-{step}")
        before = self.diaries[step]
        await schedule.trigger(overlap=ScheduleOverlapPolicy.BUFFER_ONE)
        while True:
            description = await schedule.describe()
            assert await description.memo() == {"note": text(_LARGE, "of the schedule")}
            actions: list[Any] = [one.action for one in description.info.recent_actions]
            assert all(isinstance(one, ScheduleActionExecutionStartWorkflow) for one in actions)
            if new := [one.workflow_id for one in actions if one.workflow_id not in before]:
                break
            # A schedule says nothing by itself.
            await asyncio.sleep(0.1)
        before.extend(new)
        self.seen.extend(new)
        assert await client.get_workflow_handle(new[0]).result() == text(_LARGE, step) * len(before)


def _step(workflow_id: str) -> str:
    return next(step for step in STEPS if workflow_id.startswith(f"{step}-"))
