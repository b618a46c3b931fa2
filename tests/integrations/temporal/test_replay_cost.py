"""What a replay asks of the store: nothing where the process has been there before, and never a write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Replayer, Worker

from benchmarks.loads.counted import Counted
from coatcheck import Chain, MemoryStore
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.activities import ACTIVITIES
from tests.integrations.temporal.paths.flows import FLOWS, Collect
from tests.integrations.temporal.paths.site import chain_on, timer_is_set
from tests.integrations.temporal.paths.values import large

STEPS = 20
EXPECTED = sha256("".join(large(f"product {number}") for number in range(STEPS)).encode()).hexdigest()

Handle = WorkflowHandle[Any, Any]


class Place:
    """A run that has taken all its steps and waits, on a store that counts."""

    def __init__(self, server: TemporalServer, mode: Mode) -> None:
        self.mode: Mode = mode
        self.store = Counted(MemoryStore())
        self.chain = chain_on(self.store)
        self.queue = f"replay-cost-{uuid4()}"
        self._server = server

    def plugin(self, chain: Chain) -> ClaimCheckPlugin:
        return ClaimCheckPlugin(chain, mode=self.mode)

    @asynccontextmanager
    async def worker(self, chain: Chain, **options: Any) -> AsyncIterator[Client]:
        server = self._server
        client = await Client.connect(
            server.address, namespace=server.namespace, plugins=[self.plugin(chain)]
        )
        async with Worker(client, task_queue=self.queue, workflows=FLOWS, activities=ACTIVITIES, **options):
            yield client

    async def walk(self, client: Client) -> Handle:
        """Start it, and be back when it waits."""
        handle = await client.start_workflow(Collect.run, STEPS, id=self.queue, task_queue=self.queue)
        await timer_is_set(handle)
        return handle

    async def replay(self, handle: Handle, chain: Chain) -> None:
        history = await handle.fetch_history()
        await Replayer(workflows=FLOWS, plugins=[self.plugin(chain)]).replay_workflow(history)


@pytest.fixture(params=["codec", "native"])
def place(request: pytest.FixtureRequest, temporal_server: TemporalServer) -> Place:
    return Place(temporal_server, request.param)


async def test_a_worker_that_keeps_no_workflow_in_memory_writes_each_payload_once(place: Place) -> None:
    """Each of its 21 workflow tasks replays all that was before."""
    async with place.worker(place.chain, max_cached_workflows=0) as client:
        handle = await place.walk(client)
        await handle.signal(Collect.go)
        assert await handle.result() == EXPECTED
    assert place.store.requests == {"puts": STEPS}
    assert len(await place.store.sizes()) == STEPS


async def test_a_worker_that_is_started_again_in_the_same_process_asks_nothing(place: Place) -> None:
    # The server would keep the next task for the first worker for ten seconds, if that one kept workflows in memory.
    async with place.worker(place.chain, max_cached_workflows=0) as client:
        handle = await place.walk(client)
    place.store.forget_counts()
    async with place.worker(place.chain):
        await handle.signal(Collect.go)
        assert await handle.result() == EXPECTED
    assert not place.store.requests


async def test_a_replayer_in_the_same_process_asks_nothing(place: Place) -> None:
    async with place.worker(place.chain) as client:
        handle = await place.walk(client)
        place.store.forget_counts()
        await place.replay(handle, place.chain)
        await handle.terminate()
    assert not place.store.requests


async def test_a_process_that_has_nothing_yet_gets_each_object_once(place: Place) -> None:
    """By a replayer, and by a worker that takes the run over."""
    async with place.worker(place.chain) as client:
        handle = await place.walk(client)
    objects = len(await place.store.sizes())
    place.store.forget_counts()
    await place.replay(handle, chain_on(place.store))
    assert_each_object_was_got_once(place.store)
    place.store.forget_counts()
    async with place.worker(chain_on(place.store)):
        await handle.signal(Collect.go)
        assert await handle.result() == EXPECTED
    assert_each_object_was_got_once(place.store)
    assert len(await place.store.sizes()) == objects


def assert_each_object_was_got_once(store: Counted) -> None:
    assert store.requests == {"gets": STEPS, "lists": 1}
    assert len(store.asked) == STEPS
