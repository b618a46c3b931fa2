"""Workflows of a schedule on the real server: each is handed the result of the last one, which has another ID."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
)
from temporalio.worker import Worker

from coatcheck import MemoryStore, Store
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from coatcheck.integrations.temporal.scopes import workflow_scope
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.site import chain_on
from tests.integrations.temporal.paths.values import CANARY, large


@workflow.defn
class Diary:
    """Goes on where the last one ended."""

    @workflow.run
    async def run(self, text: str) -> str:
        return str(workflow.get_last_completion_result(str) or "") + text


async def next_run(client: Client, schedule: ScheduleHandle, before: Sequence[str]) -> str:
    """The ID of the workflow that a trigger starts; a schedule says nothing by itself, so it is asked."""
    # The ID has the time to the second: within the same second nothing is started.
    await asyncio.sleep(1.1)
    # Not skipped where the schedule has not noticed yet that the last one ended.
    await schedule.trigger(overlap=ScheduleOverlapPolicy.BUFFER_ONE)
    for _ in range(400):
        for action in (await schedule.describe()).info.recent_actions:
            assert isinstance(action.action, ScheduleActionExecutionStartWorkflow)
            if action.action.workflow_id not in before:
                return action.action.workflow_id
        await asyncio.sleep(0.05)
    raise AssertionError("the schedule started nothing")


@pytest.mark.parametrize("mode", ["codec", "native"])
@pytest.mark.parametrize("size", ["small", "large"])
async def test_the_second_workflow_of_a_schedule_could_not_read_what_the_first_gave_back(
    temporal_server: TemporalServer, mode: Mode, size: str
) -> None:
    text = large("diary") if size == "large" else f"{CANARY} diary"
    store: Store = MemoryStore()
    queue = f"diary-{uuid4()}"
    client = await Client.connect(
        temporal_server.address,
        namespace=temporal_server.namespace,
        plugins=[ClaimCheckPlugin(chain_on(store), mode=mode)],
    )
    action = ScheduleActionStartWorkflow(Diary.run, text, id=queue, task_queue=queue)
    schedule = await client.create_schedule(queue, Schedule(action=action, spec=ScheduleSpec()))
    try:
        async with Worker(client, task_queue=queue, workflows=[Diary]):
            ids: list[str] = []
            for number in range(1, 4):
                ids.append(await next_run(client, schedule, ids))
                assert await client.get_workflow_handle(ids[-1]).result() == text * number
    finally:
        await schedule.delete()
    for workflow_id in ids:
        scope = workflow_scope(temporal_server.namespace, workflow_id)
        assert (scope.run, scope.series) == (workflow_id, queue)


@pytest.mark.parametrize("mode", ["codec", "native"])
async def test_a_schedule_with_a_large_memo_never_fired_and_could_not_be_described(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    text, note = large("diary"), large("note")
    queue = f"diary-{uuid4()}"
    client = await Client.connect(
        temporal_server.address,
        namespace=temporal_server.namespace,
        plugins=[ClaimCheckPlugin(chain_on(MemoryStore()), mode=mode)],
    )
    action = ScheduleActionStartWorkflow(
        Diary.run, text, id=queue, task_queue=queue, memo={"note": note + "of its workflows"}
    )
    schedule = await client.create_schedule(
        queue, Schedule(action=action, spec=ScheduleSpec()), memo={"note": note}
    )
    try:
        async with Worker(client, task_queue=queue, workflows=[Diary]):
            first = await next_run(client, schedule, [])
            assert await client.get_workflow_handle(first).result() == text
            assert await (await schedule.describe()).memo() == {"note": note}
            await schedule.update(lambda given: ScheduleUpdate(given.description.schedule))
            second = await next_run(client, schedule, [first])
            assert await client.get_workflow_handle(second).result() == text * 2
            described = await client.get_workflow_handle(second).describe()
            assert await described.memo_value("note") == note + "of its workflows"
    finally:
        await schedule.delete()


@pytest.mark.parametrize(
    ("workflow_id", "series"),
    [
        ("diary-2026-01-31T12:00:00Z", "diary"),
        ("a-2026-01-31T12:00:00Z-2026-02-01T12:00:00Z", "a-2026-01-31T12:00:00Z"),
        ("-2026-01-31T12:00:00Z", None),
        ("2026-01-31T12:00:00Z", None),
        ("diary-2026-01-31T12:00:00Z-again", None),
        ("diary", None),
    ],
)
def test_which_workflows_are_of_a_series(workflow_id: str, series: str | None) -> None:
    assert workflow_scope("default", workflow_id).series == series
