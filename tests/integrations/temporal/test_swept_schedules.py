"""Schedules on the real server, whose runs it forgets: the next run is handed the last result, however long ago that was."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowFailureError,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from coatcheck import FileStore
from coatcheck.integrations.temporal.live_runs import TemporalRuns
from coatcheck.retention.rules import Action
from coatcheck.retention.sweep import Sweep
from coatcheck.retention.tally import Report
from coatcheck.storage.prefixes import ScopePrefixes
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.nexus import new_namespace
from tests.integrations.temporal.swept_world import chain_on, connect, value
from tests.integrations.temporal.test_schedules import next_run
from tests.retention.aged_files import age
from tests.retention.sweeping import LONG, RULES

_MORE_THAN_A_SCHEDULE_REMEMBERS = 11

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Mood:
    """Whether runs are to fail."""

    def __init__(self) -> None:
        self.is_bad = False

    @activity.defn
    async def mood(self) -> bool:
        return self.is_bad


@workflow.defn
class MoodyDiary:
    """Goes on where the last one that succeeded ended, if it is in the mood."""

    @workflow.run
    async def run(self, text: str) -> str:
        before = str(workflow.get_last_completion_result(str) or "")
        if await workflow.execute_activity_method(Mood.mood, start_to_close_timeout=timedelta(seconds=30)):
            raise ApplicationError("not now", non_retryable=True)
        return before + text


@dataclass
class Site:
    """A schedule in a namespace, and a store."""

    server: TemporalServer
    folder: Path
    plain: Client
    name: str
    text: str
    mood: Mood = field(default_factory=Mood)
    ran: list[str] = field(default_factory=list)

    async def create(self, spec: ScheduleSpec | None = None) -> ScheduleHandle:
        client = await connect(self.server, self.folder)
        action = ScheduleActionStartWorkflow(MoodyDiary.run, self.text, id=self.name, task_queue=self.name)
        return await client.create_schedule(self.name, Schedule(action=action, spec=spec or ScheduleSpec()))

    async def trigger(self, schedule: ScheduleHandle) -> str:
        """One run, by a client and a worker that have nothing in memory."""
        client = await connect(self.server, self.folder)
        async with Worker(client, task_queue=self.name, workflows=[MoodyDiary], activities=[self.mood.mood]):
            self.ran.append(await next_run(self.plain, schedule, self.ran))
            result = client.get_workflow_handle(self.ran[-1]).result()
            try:
                return str(await asyncio.wait_for(result, 60))
            finally:
                await self.noticed(schedule)

    async def noticed(self, schedule: ScheduleHandle) -> None:
        """Wait until the schedule has taken the result: what the server forgets before that was never its last one."""
        async with asyncio.timeout(60):
            while (await schedule.describe()).info.running_actions:  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.1)

    async def forget(self) -> None:
        """Have the server forget all runs, as it does after their retention."""
        gone = {run.id async for run in self.plain.list_workflows()}
        for run in gone:
            await self.plain.workflow_service.delete_workflow_execution(
                DeleteWorkflowExecutionRequest(
                    namespace=self.server.namespace, workflow_execution=WorkflowExecution(workflow_id=run)
                )
            )
        async with asyncio.timeout(60):
            while [run async for run in self.plain.list_workflows()]:  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.1)

    async def sweep(self, *, no_runs: tuple[str, ...] = ()) -> Report:
        """Twice, a grace apart, when everything is old."""
        await self.forget()
        await self._sweep_once(no_runs)
        return await self._sweep_once(no_runs)

    async def _sweep_once(self, no_runs: tuple[str, ...]) -> Report:
        age(self.folder, LONG, self.server.namespace)
        chain = chain_on(self.folder)
        live = TemporalRuns(self.plain, [self.server.namespace], callers_listed=True, no_runs=no_runs)
        return await Sweep(
            chain.store,
            ScopePrefixes(chain.sealings),
            live,
            engine=live.engine,
            tenants=live.tenants,
            rules=RULES,
            max_share=1,
            no_runs=no_runs,
        ).run()

    async def scopes(self) -> int:
        """How many runs have something in the store."""
        keys = [entry.key async for entry in FileStore(self.folder).list_objects()]
        return len({key.split("/")[1] for key in keys if key.split("/")[1].startswith("01")})


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def namespace(temporal_server: TemporalServer) -> TemporalServer:
    return await new_namespace(temporal_server)


@pytest_asyncio.fixture(loop_scope="module")
async def site(namespace: TemporalServer, tmp_path: Path) -> AsyncIterator[Site]:
    plain = await Client.connect(namespace.address, namespace=namespace.namespace)
    name = f"diary-{uuid4()}"
    yield Site(namespace, tmp_path / "payloads", plain, name, value(name))
    async for schedule in await plain.list_schedules():
        await plain.get_schedule_handle(schedule.id).delete()


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
async def test_the_last_result_of_a_schedule_was_swept(site: Site, paused: bool) -> None:
    schedule = await site.create()
    assert await site.trigger(schedule) == site.text
    if paused:
        await schedule.pause()
    report = await site.sweep()
    assert (report.of(Action.LIVE).scopes, report.deleted) == (1, 0)
    assert await site.trigger(schedule) == site.text * 2


@pytest.mark.long
async def test_a_schedule_that_only_failed_for_long_lost_its_last_result(site: Site) -> None:
    schedule = await site.create()
    assert await site.trigger(schedule) == site.text
    site.mood.is_bad = True
    for _ in range(_MORE_THAN_A_SCHEDULE_REMEMBERS):
        with pytest.raises(WorkflowFailureError):
            await site.trigger(schedule)
    site.mood.is_bad = False
    assert (await site.sweep()).deleted == 0
    assert await site.trigger(schedule) == site.text * 2


@pytest.mark.long
async def test_a_monthly_schedule_outlives_the_retention_of_its_runs(site: Site) -> None:
    """By the server's calendar: it makes up for the months of a year ago, one after the other."""
    first = ScheduleRange(1)
    monthly = ScheduleCalendarSpec(day_of_month=[first], hour=[ScheduleRange(6)])
    schedule = await site.create(ScheduleSpec(calendars=[monthly]))
    for month in (1, 2, 3):
        client = await connect(site.server, site.folder)
        async with Worker(client, task_queue=site.name, workflows=[MoodyDiary], activities=[site.mood.mood]):
            start = datetime(2025, month, 1, tzinfo=UTC)
            await site.plain.get_schedule_handle(site.name).backfill(
                ScheduleBackfill(start, start + timedelta(days=5), overlap=ScheduleOverlapPolicy.BUFFER_ALL)
            )
            run = f"{site.name}-2025-{month:02}-01T06:00:00Z"
            await started(site, run)
            result = client.get_workflow_handle(run).result()
            assert await asyncio.wait_for(result, 60) == site.text * month
            await site.noticed(schedule)
        assert (await site.sweep()).deleted == 0
    await schedule.delete()


async def started(site: Site, run: str) -> None:
    """Wait for a run that the schedule starts; it sends no event."""
    async with asyncio.timeout(60):
        while run not in {one.id async for one in site.plain.list_workflows()}:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)


async def test_a_schedule_whose_action_has_another_id_by_now(site: Site) -> None:
    schedule = await site.create()
    assert await site.trigger(schedule) == site.text

    def renamed(known: ScheduleUpdateInput) -> ScheduleUpdate:
        action: Any = known.description.schedule.action
        action.id = f"renamed-{site.name}"
        return ScheduleUpdate(schedule=known.description.schedule)

    await schedule.update(renamed)
    report = await site.sweep()
    assert (report.of(Action.LIVE).scopes, report.deleted, await site.scopes()) == (1, 0, 1)


async def test_what_a_schedule_left_that_was_deleted_goes(site: Site) -> None:
    schedule = await site.create()
    for number in (1, 2):
        assert await site.trigger(schedule) == site.text * number
    assert await site.scopes() == 2
    await schedule.delete()
    await gone(site)
    report = await site.sweep(no_runs=(site.server.namespace,))
    assert report.of(Action.DELETE).scopes == 2
    assert await site.scopes() == 0


async def gone(site: Site) -> None:
    """Wait until the schedule is no longer listed; the server sends no event."""
    async with asyncio.timeout(60):
        while [one async for one in await site.plain.list_schedules()]:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)
