"""Workflows that live longer than one run, or than one worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    ResetWorkflowExecutionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowHandle,
)
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker, WorkerDeploymentConfig

from coatcheck import Chain, Encrypt, Keyring, Offload, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin
from tests.chains import KEY, OTHER_KEY
from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.activities import ACTIVITIES, announced
from tests.integrations.temporal.paths.flows import FLOWS
from tests.integrations.temporal.paths.path import END, START, Handles, PayloadPath
from tests.integrations.temporal.paths.site import OVER, Site, new_id
from tests.integrations.temporal.paths.values import CANARY, large

_SIGNAL = "WorkflowExecutionSignaled input"
_CALL = "ActivityTaskScheduled input"
_ANSWER = "ActivityTaskCompleted result"


async def _cron(site: Site) -> Handles:
    """A run is given the result of the last one."""
    data = large("cron")
    handle = await site.start(flows.Cron.run, data, cron_schedule="@every 1s")
    assert await announced().get() == handle.id
    second = site.run(handle.id)
    assert await second.query(flows.Cron.last) == data
    await second.terminate()
    return [site.run(handle.id, handle.first_execution_run_id), second]


async def _reset(site: Site) -> Handles:
    """Back to before the first signal: the server hands over the signals again, and the new run reads them."""
    data = [large("before a reset"), large("after a reset")]
    handle = await site.start(flows.Mailbox.run, 2)
    for each in data:
        await handle.signal(flows.Mailbox.put, each)
    assert await handle.result() == data
    events = (await site.plain.get_workflow_handle(handle.id).fetch_history()).events
    done = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    answer = await site.plain.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=site.client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=handle.id, run_id=handle.first_execution_run_id or ""
            ),
            reason="as the test wants",
            request_id=str(uuid4()),
            workflow_task_finish_event_id=done[0],
        )
    )
    again = site.run(handle.id, answer.run_id)
    assert await again.result() == data
    return [site.run(handle.id, handle.first_execution_run_id), again]


async def _versions(site: Site) -> Handles:
    """Two versions of a worker side by side: the newer one, with another key, level and threshold, takes over."""
    data = [large("turn of the old version"), large("turn of the new version")]
    old = Chain(Zstd(level=1), Encrypt(Keyring(OTHER_KEY, KEY)), Offload(site.store, over=256))
    new = Chain(Zstd(level=9), Encrypt(Keyring(KEY, OTHER_KEY)), Offload(site.store, over=OVER))
    name = f"paths-{uuid4()}"
    async with _version(site, name, "old", old) as client:
        handle = await client.start_workflow(
            flows.Turns.run, data[0], id=new_id(flows.Turns.run), task_queue=name
        )
        assert await announced().get() == handle.id
        async with _version(site, name, "new", new) as newer:
            taken_over = newer.get_workflow_handle(handle.id)
            await taken_over.signal(flows.Turns.say, data[1])
            assert await taken_over.result() == data
    history = await site.plain.get_workflow_handle(handle.id).fetch_history()
    tasks = [e for e in history.events if e.HasField("workflow_task_completed_event_attributes")]
    assert tasks[0].workflow_task_completed_event_attributes.identity == "old"
    assert tasks[-1].workflow_task_completed_event_attributes.identity == "new"
    return [site.run(handle.id)]


@asynccontextmanager
async def _version(site: Site, name: str, build: str, chain: Chain) -> AsyncIterator[Client]:
    """A worker of a deployment, made the current one: workflows go on with it at their next task."""
    plugin = ClaimCheckPlugin(chain, mode=site.mode)
    client = await Client.connect(
        site.server.address, namespace=site.server.namespace, plugins=[plugin], identity=build
    )
    deployment = WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(name, build),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )
    worker = Worker(
        client, task_queue=name, workflows=FLOWS, activities=ACTIVITIES, deployment_config=deployment
    )
    async with worker:
        await _made_current(client, name, build)
        await _known_everywhere(client, name)
        yield client


async def _made_current(client: Client, name: str, build: str) -> None:
    """The server refuses until it has heard that workers of this version poll all that those before them do."""
    current = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=name, build_id=build
    )
    async with asyncio.timeout(60):
        while True:
            try:
                await client.workflow_service.set_worker_deployment_current_version(current)
            except RPCError as error:
                if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                    raise
                await asyncio.sleep(0.02)
            else:
                return


async def _known_everywhere(client: Client, name: str) -> None:
    """Wait until the server has told its task queues which version is the current one; it sends no event."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=name)
    async with asyncio.timeout(60):
        while True:
            answer = await client.workflow_service.describe_worker_deployment(request)
            state = answer.worker_deployment_info.routing_config_update_state
            if state != RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS:
                return
            await asyncio.sleep(0.02)


async def _schedule(site: Site) -> Handles:
    """The input and the memo of a schedule are sealed for no run: the tenant scope."""
    first, second = large("schedule"), large("schedule that was updated")
    schedule = Schedule(action=_action(site, first), spec=ScheduleSpec())
    handle = await site.client.create_schedule(new_id("schedule"), schedule)
    try:
        runs = [await _triggered(site, handle, first)]

        def update(described: ScheduleUpdateInput) -> ScheduleUpdate:
            described.description.schedule.action = _action(site, second)
            return ScheduleUpdate(described.description.schedule)

        await handle.update(update)
        runs.append(await _triggered(site, handle, second))
        raw = (await handle.describe()).raw_description.SerializeToString()
        assert CANARY.encode() not in raw
        assert len(raw) < 10_000
    finally:
        await handle.delete()
    return runs


def _action(site: Site, data: str) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow(
        flows.Announce.run, data, id="scheduled", task_queue=site.queue, memo={"note": data}
    )


async def _triggered(site: Site, schedule: ScheduleHandle, data: str) -> WorkflowHandle[Any, Any]:
    await schedule.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    run = site.run(await asyncio.wait_for(announced().get(), 60))
    assert await run.result() == [data, data]
    return run


LIVES = [
    PayloadPath("cron", _cron, {START, END, "WorkflowExecutionStarted last_completion_result"}),
    PayloadPath("reset", _reset, {_SIGNAL, "WorkflowExecutionCompleted result"}),
    PayloadPath("side-by-side versions", _versions, {START, _CALL, _ANSWER, _SIGNAL, END}),
    PayloadPath(
        "schedule",
        _schedule,
        {START, _CALL, _ANSWER, END, "WorkflowExecutionStarted memo[note]"},
        # The server's own.
        clear={
            "WorkflowExecutionStarted search_attributes[TemporalScheduledById]",
            "WorkflowExecutionStarted search_attributes[TemporalScheduledStartTime]",
        },
    ),
]
