"""Keys that a KMS wraps: had from the beginning of an attempt until its outcome is sealed, or the attempt does not begin."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from coatcheck import Chain, KeyUnavailable, Scope
from coatcheck.integrations.temporal import ClaimCheckPlugin
from tests.engines.google_kms import google_kms
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.buying import Buying, BuyingElsewhere, BuyingLocally, Shop
from tests.integrations.temporal.paths.nexus import new_endpoint, new_namespace
from tests.integrations.temporal.workflows import text
from tests.integrations.tenant_keys import AGE, KeyWorld

KINDS = ["at once", "in a thread", "behind another interceptor"]
SIZES = pytest.mark.parametrize("size", [100, 200_000], ids=["inline", "offloaded"])


@dataclass
class World(KeyWorld):
    """One in which activities do what must not be done twice, while the KMS is away, for longer than a key is held."""

    size: int = 100
    token: bytes = b""
    handed_over: asyncio.Event = field(default_factory=asyncio.Event)
    read_on: asyncio.Event = field(default_factory=asyncio.Event)
    left: list[asyncio.Task[bytes]] = field(default_factory=list)
    chain_of_activities: Chain | None = None

    @property
    def receipt(self) -> str:
        return text(self.size, "receipt")

    def begin(self) -> None:
        self.done["charge"] += 1
        self.goes_down()

    @activity.defn
    async def charge(self) -> str:
        self.begin()
        await asyncio.sleep(1.2 * AGE)
        return self.receipt

    @activity.defn
    def charge_in_a_thread(self) -> str:
        self.begin()
        threading.Event().wait(1.2 * AGE)
        return self.receipt

    @activity.defn
    async def charge_in_vain(self) -> str:
        raise ApplicationError("declined", await self.charge(), type="Declined", non_retryable=True)

    @activity.defn
    def say_how_far(self) -> str:
        if activity.info().attempt > 1:
            return str(activity.info().heartbeat_details[0])
        self.begin()
        threading.Event().wait(1.2 * AGE)
        activity.heartbeat(self.receipt)
        asyncio.run_coroutine_threadsafe(self.read_on.wait(), self.loop).result(20)
        raise ApplicationError("once more")

    @activity.defn
    async def charge_and_leave_a_task(self) -> str:
        receipt = await self.charge()
        chain = self.chain_of_activities
        assert chain is not None
        # While the attempt lasts the task has its keys.
        await chain.encode(b"during", Scope("default", "other"))

        async def later() -> bytes:
            await self.read_on.wait()
            return await chain.encode(b"after", Scope("default", "other"))

        self.left.append(asyncio.create_task(later()))
        return receipt

    @activity.defn
    async def hand_over(self) -> str:
        self.token = activity.info().task_token
        self.handed_over.set()
        activity.raise_complete_async()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loop = asyncio.get_running_loop()


@service_handler(service=Shop)
class ShopHandler:
    def __init__(self, charge: Callable[[], Awaitable[str]]) -> None:
        self._charge = charge

    @sync_operation
    async def charge(self, ctx: StartOperationContext, nothing: None) -> str:
        return await self._charge()


class OwnTask(Interceptor):
    """Runs activities in tasks of their own, as ``asyncio.wait_for`` did before Python 3.12."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's signature
        return _InOwnTask(next)


class _InOwnTask(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's signature
        return await asyncio.create_task(super().execute_activity(input))


@dataclass
class Bench:
    """Workers on the real server, and a client whose keys hold for as long as it takes."""

    world: World
    client: Client
    queue: str

    async def start(self, workflow: Any, *args: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            workflow,
            args=args,
            id=f"buying-{uuid4()}",
            task_queue=self.queue,
            execution_timeout=timedelta(seconds=30),
        )


@asynccontextmanager
async def benches(
    server: TemporalServer, size: int = 100, *interceptors: Interceptor
) -> AsyncIterator[Bench]:
    """One whose workflows are not troubled by the KMS; what activities and operations do is."""
    queue = f"buying-{uuid4()}"
    async with google_kms() as kms:
        world = World(kms, size=size)
        async with world.chain(max_age=300) as lasting, world.chain() as chain:
            world.chain_of_activities = chain
            client = await Client.connect(server.address, plugins=[ClaimCheckPlugin(lasting)])
            other = await Client.connect(server.address, plugins=[ClaimCheckPlugin(chain)])
            await lasting.load_keys("default")
            with ThreadPoolExecutor(2) as threads:
                activities = [
                    world.charge,
                    world.charge_in_a_thread,
                    world.charge_in_vain,
                    world.charge_and_leave_a_task,
                    world.say_how_far,
                    world.hand_over,
                ]
                async with (
                    Worker(client, task_queue=queue, workflows=[Buying, BuyingElsewhere]),
                    Worker(
                        other,
                        task_queue=f"{queue}-activities",
                        workflows=[BuyingLocally],
                        activities=activities,
                        activity_executor=threads,
                        nexus_service_handlers=[ShopHandler(world.charge)],
                        interceptors=interceptors,
                    ),
                ):
                    yield Bench(world, client, queue)


async def pending(
    server: TemporalServer, handle: WorkflowHandle[Any, Any], look: Callable[[PendingActivityInfo], Any]
) -> Any:
    """Return what is found in the workflow's pending activity, as soon as there is something."""
    plain = (await Client.connect(server.address)).get_workflow_handle(handle.id)
    async with asyncio.timeout(60):
        while True:
            described = await plain.describe()
            for found in map(look, described.raw_description.pending_activities):
                if found:
                    return found
            await asyncio.sleep(0.05)


@SIZES
@pytest.mark.parametrize("kind", KINDS)
async def test_an_activity_that_outlasts_its_key_was_done_again(
    temporal_server: TemporalServer, kind: str, size: int
) -> None:
    charge = "charge_in_a_thread" if kind == "in a thread" else "charge"
    own = [OwnTask()] if kind == "behind another interceptor" else []
    async with benches(temporal_server, size, *own) as bench:
        handle = await bench.start(Buying.run, charge)
        assert await handle.result() == bench.world.receipt
        assert bench.world.done == {"charge": 1}


@SIZES
async def test_a_failure_after_a_long_activity_was_lost_and_the_activity_done_again(
    temporal_server: TemporalServer, size: int
) -> None:
    async with benches(temporal_server, size) as bench:
        handle = await bench.start(Buying.run, "charge_in_vain")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, ActivityError)
        cause = caught.value.cause.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.message, cause.type, cause.details) == ("declined", "Declined", (bench.world.receipt,))
        assert bench.world.done == {"charge": 1}


@SIZES
async def test_a_local_activity_that_outlasts_its_key_was_done_again(
    temporal_server: TemporalServer, size: int
) -> None:
    """Its result is opened and sealed once more in the workflow task that it belongs to."""
    async with benches(temporal_server, size) as bench:
        bench.queue = f"{bench.queue}-activities"
        handle = await bench.start(BuyingLocally.run, "charge")
        assert await handle.result() == bench.world.receipt
        assert bench.world.done == {"charge": 1}
        kinds = [event.event_type async for event in handle.fetch_history_events()]
        assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in kinds


@SIZES
async def test_an_operation_of_nexus_that_outlasts_its_key_was_done_again(
    temporal_server: TemporalServer, size: int
) -> None:
    plain = await Client.connect(temporal_server.address)
    async with benches(temporal_server, size) as bench:
        endpoint = await new_endpoint(plain, "default", f"{bench.queue}-activities")
        handle = await bench.start(BuyingElsewhere.run, endpoint)
        assert await handle.result() == bench.world.receipt
        assert bench.world.done == {"charge": 1}


async def test_nexus_between_namespaces_failed_where_each_has_keys_of_its_own(
    temporal_server: TemporalServer,
) -> None:
    other = await new_namespace(temporal_server)
    async with google_kms() as kms:
        world = World(kms, size=200_000)

        async def charge() -> str:
            return world.receipt

        def connect(chain: Chain, namespace: str, peer: str) -> Awaitable[Client]:
            plugin = ClaimCheckPlugin(chain, nexus_namespaces=[peer])
            return Client.connect(temporal_server.address, namespace=namespace, plugins=[plugin])

        async with world.chain(max_age=300) as ours, world.chain(max_age=300) as theirs:
            buyer = await connect(ours, "default", other.namespace)
            shop = await connect(theirs, other.namespace, "default")
            endpoint = await new_endpoint(buyer, other.namespace, "shop")
            async with (
                Worker(buyer, task_queue="buyer", workflows=[BuyingElsewhere]),
                Worker(shop, task_queue="shop", nexus_service_handlers=[ShopHandler(charge)]),
            ):
                handle = await Bench(world, buyer, "buyer").start(BuyingElsewhere.run, endpoint)
                assert await handle.result() == world.receipt


async def test_an_attempt_whose_key_cannot_be_had_begins_nothing_and_says_why(
    temporal_server: TemporalServer,
) -> None:
    async with benches(temporal_server) as bench:
        bench.world.goes_down()
        handle = await bench.start(Buying.run, "charge")
        said = await pending(temporal_server, handle, lambda found: found.last_failure.message)
        assert "Google Cloud KMS answers 503" in said
        assert not bench.world.done
        bench.world.comes_back()
        assert await handle.result() == bench.world.receipt
        assert bench.world.done == {"charge": 1}


async def test_heartbeats_of_a_long_activity_keep_their_details(temporal_server: TemporalServer) -> None:
    async with benches(temporal_server) as bench:
        handle = await bench.start(Buying.run, "say_how_far")
        await pending(temporal_server, handle, lambda found: found.heartbeat_details.payloads)
        bench.world.comes_back()
        bench.world.read_on.set()
        assert await handle.result() == bench.world.receipt


async def test_a_task_that_outlives_its_activity_loses_the_key(temporal_server: TemporalServer) -> None:
    async with benches(temporal_server) as bench:
        handle = await bench.start(Buying.run, "charge_and_leave_a_task")
        assert await handle.result() == bench.world.receipt
        bench.world.read_on.set()
        with pytest.raises(KeyUnavailable):
            await bench.world.left[0]


async def test_who_completes_an_activity_from_elsewhere_holds_the_key_by_hand(
    temporal_server: TemporalServer,
) -> None:
    async with benches(temporal_server) as bench:
        world = bench.world
        handle = await bench.start(Buying.run, "hand_over")
        await world.handed_over.wait()
        async with world.chain() as chain:
            elsewhere = await Client.connect(temporal_server.address, plugins=[ClaimCheckPlugin(chain)])
            activity_handle = elsewhere.get_async_activity_handle(task_token=world.token)
            async with chain.holding_keys("default"):
                await activity_handle.complete(await world.charge())
        assert await handle.result() == world.receipt
