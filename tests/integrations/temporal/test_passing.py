"""Heartbeats and queries on the real server: what they leave, and what they survive."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.converter import ActivitySerializationContext, DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker, WorkflowInterceptorClassInput

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, StoreUnavailable, Zstd
from coatcheck.integrations.temporal import ClaimCheckCodec, ClaimCheckPlugin, wrap_data_converter
from tests.chains import KEY, keys_in
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.values import CANARY, large
from tests.integrations.temporal.workflows import text

SMALL = 6_000
"""Characters: sealed, some times what else goes to the store, and far below what stays inline of what passes."""
SOON = timedelta(seconds=60)
BEAT = 0.1


class Outage(MemoryStore):
    """Is down when the test says so, or takes no notice of anybody."""

    def __init__(self) -> None:
        super().__init__()
        self.down = asyncio.Event()
        self.hangs = False

    async def create(self, key: str, data: bytes) -> bool:
        if self.down.is_set():
            if self.hangs:
                await asyncio.Event().wait()
            raise StoreUnavailable("the store is down")
        return await super().create(key, data)


class Together:
    """Where the activity and the test meet, who run in one process."""

    def __init__(self) -> None:
        self.first_beat_is_there = asyncio.Event()
        self.attempts: list[str] = []
        self.store = Outage()


TOGETHER: dict[str, Together] = {}
"""By workflow ID."""


@activity.defn
async def beat(count: int) -> None:
    """Heartbeat as often."""
    for number in range(count):
        activity.heartbeat(text(SMALL, f"beat {number} "))
        await asyncio.sleep(0.01)


@activity.defn
async def beat_through_an_outage() -> str:
    """Heartbeat while the store is down for longer than the heartbeat's time-out; give back what the retry finds."""
    together = TOGETHER[activity.info().workflow_id or ""]
    if activity.info().attempt > 1:
        return str(activity.info().heartbeat_details[0])
    activity.heartbeat(large("beat"))
    await together.first_beat_is_there.wait()
    together.store.down.set()
    for number in range(30):
        activity.heartbeat(large(f"beat {number}"))
        await asyncio.sleep(BEAT)
    together.store.down.clear()
    together.attempts.append("through")
    raise ApplicationError("once more")


@workflow.defn
class Beating:
    @workflow.run
    async def run(self, count: int) -> None:
        await workflow.execute_activity(
            beat, count, start_to_close_timeout=SOON, heartbeat_timeout=timedelta(seconds=5)
        )
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def echo(self, data: str) -> str:
        return data[::-1]


@workflow.defn
class BeatingThroughAnOutage:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            beat_through_an_outage,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=2),
            retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10)),
        )


def chain_on(store: MemoryStore) -> Chain:
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=512, deadline=2), cache=PayloadCache(2**24)
    )


async def connect(server: TemporalServer, store: MemoryStore) -> Client:
    return await Client.connect(server.address, plugins=[ClaimCheckPlugin(chain_on(store))])


async def beaten(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the activity is done."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("activity_task_completed_event_attributes"):
            return


async def test_every_heartbeat_and_every_query_left_an_object(temporal_server: TemporalServer) -> None:
    store = MemoryStore()
    client = await connect(temporal_server, store)
    queue = workflow_id = f"beating-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Beating], activities=[beat]):
        handle = await client.start_workflow(Beating.run, 100, id=workflow_id, task_queue=queue)
        await beaten(handle)
        for number in range(10):
            data = text(SMALL, f"query {number} ")
            assert await handle.query(Beating.echo, data) == data[::-1]
        assert await keys_in(store) == []
        # What is large even for those who keep it for a moment is as everything else.
        assert await handle.query(Beating.echo, large("query")) == large("query")[::-1]
        assert len(await keys_in(store)) == 2
        await handle.terminate()


async def test_an_activity_took_the_note_that_its_workflow_answered_a_query_and_stayed_inline() -> None:
    store = MemoryStore()
    converter = wrap_data_converter(DataConverter.default, chain_on(store), namespace="ns")
    codec = converter.payload_codec
    assert isinstance(codec, ClaimCheckCodec)
    noted = WorkflowInterceptorClassInput(unsafe_extern_functions={})
    codec.notes.interceptor_class(noted)
    noted.unsafe_extern_functions["coatcheck_queried"](("ns", "run"))
    of_the_workflow = converter.with_context(WorkflowSerializationContext("ns", "run"))
    of_an_activity = converter.with_context(
        ActivitySerializationContext("ns", "1", "echo", "queue", "run", "Echo", is_local=False)
    )
    await of_an_activity.encode([text(SMALL, "result")])
    assert len(await keys_in(store)) == 1
    await of_the_workflow.encode([text(SMALL, "answer")])
    assert len(await keys_in(store)) == 1
    await of_the_workflow.encode([text(SMALL, "command")])
    assert len(await keys_in(store)) == 2


async def test_what_passes_is_sealed(temporal_server: TemporalServer) -> None:
    client = await connect(temporal_server, MemoryStore())
    (sealed,) = await client.data_converter.encode([CANARY])
    assert CANARY.encode() not in sealed.SerializeToString()


@pytest.mark.parametrize("hangs", [False, True], ids=["down", "hanging"])
async def test_an_outage_of_the_store_cancelled_a_healthy_activity(
    temporal_server: TemporalServer, hangs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    queue = workflow_id = f"outage-{uuid4()}"
    together = TOGETHER[workflow_id] = Together()
    together.store.hangs = hangs
    client = await connect(temporal_server, together.store)
    plain = await Client.connect(temporal_server.address)
    caplog.set_level(logging.WARNING, "coatcheck")
    async with Worker(
        client,
        task_queue=queue,
        workflows=[BeatingThroughAnOutage],
        activities=[beat_through_an_outage],
        graceful_shutdown_timeout=timedelta(seconds=0),
    ):
        handle = await client.start_workflow(BeatingThroughAnOutage.run, id=workflow_id, task_queue=queue)
        async for description in descriptions(plain, workflow_id):
            pending = description.raw_description.pending_activities
            if pending and pending[0].HasField("heartbeat_details"):
                break
        together.first_beat_is_there.set()
        kept = await handle.result()
    assert together.attempts == ["through"]
    # A heartbeat without details would have told the server to forget those that it had.
    assert kept.startswith(f"{CANARY} beat")
    assert "the details of a heartbeat of activity 1 could not be encoded" in caplog.text
    assert CANARY not in caplog.text


async def descriptions(client: Client, workflow_id: str) -> AsyncIterator[Any]:
    """What the server says again and again: it tells of no heartbeat by itself."""
    while True:
        yield await client.get_workflow_handle(workflow_id).describe()
        await asyncio.sleep(0.05)
