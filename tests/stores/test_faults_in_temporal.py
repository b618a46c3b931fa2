"""A store that is slow, or silent, while a workflow waits for its payload: done or failed well inside the 10 s of a task."""

import asyncio
import uuid

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, Keyring, Offload, PayloadCache, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin
from tests.chains import KEY
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.workflows import Echo, echo, text
from tests.stores.s3_fixtures import Bucket, NewStore

DELAYS = (1.0, 4.0, 9.0, 15.0)
"""Seconds before each answer of the store."""
DEADLINE = 8.0
"""Of a call to the store, unless something else is set."""
TASK = 10.0
"""Of a workflow task, unless something else is set."""


@pytest.mark.long
async def test_slow_rehydration_is_done_or_failed_inside_a_workflow_task(
    temporal_server: TemporalServer, bucket: Bucket, new_store: NewStore
) -> None:
    store = new_store()

    def chain_to(endpoint: str, timeout: float) -> Chain:
        offload = Offload(new_store(endpoint, prefix=store.prefix, timeout=timeout))
        return Chain(Zstd(), Encrypt(Keyring(KEY)), offload, cache=PayloadCache(2**24))

    async def rehydrated(delay: float) -> list[HistoryEvent]:
        """The workflow tasks that failed or ran out of time; the workflow completes, at the latest without delay."""
        data, queue = text(60_000, f"{delay}"), f"slow-{uuid.uuid4()}"
        slow = True

        def plan(request: Request) -> Fault:
            return Fault.LATE if slow and request.method == "GET" else Fault.NONE

        async with (
            chain_to(bucket.server.endpoint, 60) as fast,
            FaultProxy(bucket.server.endpoint, plan, pause=delay) as proxy,
            chain_to(proxy.endpoint, 30) as slow_chain,
        ):
            client = await Client.connect(temporal_server.address, plugins=[ClaimCheckPlugin(fast)])
            handle = await client.start_workflow(Echo.run, data, id=queue, task_queue=queue)
            far = await Client.connect(temporal_server.address, plugins=[ClaimCheckPlugin(slow_chain)])
            async with Worker(far, task_queue=queue, workflows=[Echo], activities=[echo]):
                await _first_task_is_over(handle)
                slow = False
                assert await handle.result() == data
            events = (await handle.fetch_history()).events
        return list(events)

    histories = await asyncio.gather(*map(rehydrated, DELAYS))
    for delay, events in zip(DELAYS, histories, strict=True):
        kinds = [event.event_type for event in events]
        assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in kinds, delay
        failed = [event for event in events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]
        assert bool(failed) is (delay > DEADLINE), delay
        for event in failed:
            about = event.workflow_task_failed_event_attributes
            assert "StoreUnavailable" in str(about.failure) or "Encoded failure" in str(about.failure)
            [started] = [one for one in events if one.event_id == about.started_event_id]
            assert _seconds(event.event_time) - _seconds(started.event_time) < TASK - 0.5


async def _first_task_is_over(handle: WorkflowHandle[Echo, str]) -> None:
    over = {
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    }
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.event_type in over:
            return


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9
