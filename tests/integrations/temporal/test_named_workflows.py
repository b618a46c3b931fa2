"""Less common ways: whose payloads they are, on the real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from coatcheck import Chain, IntegrityError, MemoryStore, Scope
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode, from_native
from coatcheck.integrations.temporal.history import payloads_of
from coatcheck.integrations.temporal.scopes import workflow_scope
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.site import chain_on
from tests.integrations.temporal.paths.values import CANARY, large

SOON = timedelta(seconds=30)


@activity.defn
async def later() -> str:
    """Somebody else completes it."""
    await arrived().put(activity.info().activity_id)
    activity.raise_complete_async()


@activity.defn
async def turned(data: str) -> str:
    return data[::-1]


def arrived() -> asyncio.Queue[str]:
    return _ARRIVED[asyncio.get_running_loop()]


_ARRIVED: dict[asyncio.AbstractEventLoop, asyncio.Queue[str]] = {}


@workflow.defn
class Awaits:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(later, start_to_close_timeout=SOON)


@workflow.defn
class Hears:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.signal
    def hear(self, data: str) -> None:
        self.heard.append(data)

    @workflow.run
    async def run(self, data: str) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.heard))
        return [data, *self.heard]


@workflow.defn
class Rings:
    """Signals another workflow, which is started for it."""

    @workflow.run
    async def run(self, data: str) -> str:
        handle = await workflow.signal_with_start_workflow(
            Hears.run,
            data,
            id=f"{workflow.info().workflow_id}-rung",
            task_queue=workflow.info().task_queue,
            signal=Hears.hear,
            signal_args=data,
            memo={"note": data},
        )
        return handle.id


@pytest.fixture(params=["codec", "native"])
def mode(request: pytest.FixtureRequest) -> Mode:
    found: Mode = request.param
    return found


@asynccontextmanager
async def working(server: TemporalServer, mode: Mode) -> AsyncIterator[tuple[Client, Client, Chain, str]]:
    """A client with a worker, a plain one, the chain, and the queue."""
    chain = chain_on(MemoryStore())
    client = await Client.connect(server.address, plugins=[ClaimCheckPlugin(chain, mode=mode)])
    plain = await Client.connect(server.address)
    queue = f"named-{uuid4()}"
    _ARRIVED[asyncio.get_running_loop()] = asyncio.Queue()
    async with Worker(client, task_queue=queue, workflows=[Awaits, Hears, Rings], activities=[later, turned]):
        yield client, plain, chain, queue


async def is_sealed_for(chain: Chain, payload: Payload, scope: Scope) -> bool:
    """Whether this workflow can open it, and no other."""
    ours = from_native(payload) or payload
    await chain.open(ours.data, scope)
    with pytest.raises(IntegrityError):
        await chain.open(ours.data, workflow_scope(scope.tenant, "another"))
    return True


async def event_with(plain: Client, workflow_id: str, field: str) -> HistoryEvent:
    async for event in plain.get_workflow_handle(workflow_id).fetch_history_events():
        if event.HasField(field):  # type: ignore[arg-type]
            assert CANARY.encode() not in event.SerializeToString()
            return event
    raise AssertionError(field)


async def test_a_completion_by_id_was_sealed_for_the_tenant(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    async with working(temporal_server, mode) as (client, plain, chain, queue):
        handle = await client.start_workflow(Awaits.run, id=queue, task_queue=queue)
        elsewhere = client.get_async_activity_handle(
            workflow_id=handle.id, run_id=handle.result_run_id, activity_id=await arrived().get()
        )
        await elsewhere.heartbeat(large("beat"))
        description = await plain.get_workflow_handle(handle.id).describe()
        (pending,) = description.raw_description.pending_activities
        scope = workflow_scope("default", handle.id)
        assert await is_sealed_for(chain, pending.heartbeat_details.payloads[0], scope)
        await elsewhere.complete(large("result"))
        assert await handle.result() == large("result")
        event = await event_with(plain, handle.id, "activity_task_completed_event_attributes")
        (result,) = event.activity_task_completed_event_attributes.result.payloads
        assert await is_sealed_for(chain, result, scope)


async def test_a_failure_by_id_was_sealed_for_the_tenant(temporal_server: TemporalServer, mode: Mode) -> None:
    async with working(temporal_server, mode) as (client, plain, chain, queue):
        handle = await client.start_workflow(Awaits.run, id=queue, task_queue=queue)
        elsewhere = client.get_async_activity_handle(
            workflow_id=handle.id, run_id=None, activity_id=await arrived().get()
        )
        await elsewhere.fail(ApplicationError("no", large("detail"), non_retryable=True))
        with pytest.raises(Exception, match="failed"):
            await handle.result()
        event = await event_with(plain, handle.id, "activity_task_failed_event_attributes")
        found = dict(payloads_of(event))
        assert len(found) == 2
        for payload in found.values():
            assert await is_sealed_for(chain, payload, workflow_scope("default", handle.id))


async def test_a_signal_with_start_from_a_workflow_is_its_receivers(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    async with working(temporal_server, mode) as (client, plain, chain, queue):
        data = large("ring")
        rung = await client.execute_workflow(Rings.run, data, id=queue, task_queue=queue)
        assert await client.get_workflow_handle(rung).result() == [data, data]
        event = await event_with(plain, rung, "workflow_execution_started_event_attributes")
        for payload in dict(payloads_of(event)).values():
            assert await is_sealed_for(chain, payload, workflow_scope("default", rung))
        await event_with(plain, queue, "nexus_operation_scheduled_event_attributes")


async def test_a_standalone_activity_is_the_tenants(temporal_server: TemporalServer, mode: Mode) -> None:
    async with working(temporal_server, mode) as (client, _, _, queue):
        data = large("standalone")
        result = await client.execute_activity(
            turned, data, id=queue, task_queue=queue, start_to_close_timeout=SOON
        )
        assert result == data[::-1]


async def test_a_batch_signals_what_is_encoded_for_the_tenant(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    """The SDK has no call for it. What its converter encodes without a context, every workflow can open."""
    async with working(temporal_server, mode) as (client, _, _, queue):
        handles: list[WorkflowHandle[Hears, list[str]]] = [
            await client.start_workflow(Hears.run, "x", id=f"{queue}-{number}", task_queue=queue)
            for number in range(2)
        ]
        data = large("batch")
        await client.workflow_service.start_batch_operation(
            StartBatchOperationRequest(
                namespace=client.namespace,
                job_id=queue,
                reason="a test",
                executions=[WorkflowExecution(workflow_id=handle.id) for handle in handles],
                signal_operation=BatchOperationSignal(
                    signal="hear",
                    input=Payloads(payloads=await client.data_converter.encode([data])),
                    identity="a test",
                ),
            )
        )
        assert [await handle.result() for handle in handles] == [["x", data]] * 2
