"""Where the paths are walked: the real server, a worker with a chain, and a client that sees what the server sees."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Store, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.chains import KEY, OTHER_KEY
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.activities import ACTIVITIES
from tests.integrations.temporal.paths.flows import FLOWS
from tests.integrations.temporal.paths.mirror import MirrorHandler

OVER = 512
"""Bytes that stay in the history."""


def chain_on(store: Store) -> Chain:
    """With nothing in memory: each is like a process of its own."""
    offload = Offload(store, over=OVER)
    return Chain(
        Zstd(), Encrypt(Keyring(KEY, OTHER_KEY), accept_plain=False), offload, cache=PayloadCache(2**26)
    )


@dataclass(frozen=True)
class Site:
    """What a path needs to be walked."""

    client: Client
    """With the plug-in."""
    plain: Client
    """Without: it gets what the server has."""
    store: MemoryStore
    mode: Mode
    queue: str
    server: TemporalServer
    options: Mapping[str, Any]
    """What client and replayer are set up with besides the plug-in."""

    def plugin(self, store: Store | None = None) -> ClaimCheckPlugin:
        """Another one on the same objects, with nothing in memory."""
        return ClaimCheckPlugin(chain_on(store or self.store), mode=self.mode)

    async def start(self, workflow: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow under an ID of its own, unless ``options`` has one."""
        options = {"id": new_id(workflow), "task_queue": self.queue, **options}
        return await self.client.start_workflow(workflow, args=args, **options)

    def run(self, workflow_id: str, run_id: str | None = None) -> WorkflowHandle[Any, Any]:
        """A run of a workflow: the last one, unless another is named."""
        return self.client.get_workflow_handle(workflow_id, run_id=run_id)


@asynccontextmanager
async def site(
    server: TemporalServer,
    mode: Mode,
    *,
    store: MemoryStore | None = None,
    nexus_namespaces: Collection[str] = (),
    **options: Any,
) -> AsyncIterator[Site]:
    """A site with a running worker, in the sandbox as by default.

    Args:
        server: Where, and in which namespace.
        mode: That of the plug-in.
        store: With nothing in it, unless it is given.
        nexus_namespaces: Those of the plug-in.
        **options: For client and replayer.
    """
    store = MemoryStore() if store is None else store
    plugin = ClaimCheckPlugin(chain_on(store), mode=mode, nexus_namespaces=nexus_namespaces)
    client = await Client.connect(server.address, namespace=server.namespace, plugins=[plugin], **options)
    plain = await Client.connect(server.address, namespace=server.namespace)
    queue = f"paths-{mode}-{uuid4()}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=FLOWS,
        activities=ACTIVITIES,
        nexus_service_handlers=[MirrorHandler()],
    ):
        yield Site(client, plain, store, mode, queue, server, options)


async def timer_is_set(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the workflow does nothing but wait: the worker can go, and takes no task with it."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
            return


def new_id(workflow: Any) -> str:
    """An ID that tells what runs under it."""
    return f"{getattr(workflow, '__qualname__', workflow)}-{uuid4()}"
