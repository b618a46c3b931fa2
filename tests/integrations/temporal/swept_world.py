"""Workflows on the real server, some of which are deleted: what a sweep may free, and what it must leave."""

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any, Final
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Scope, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin, wrap_data_converter
from coatcheck.integrations.temporal.history import payloads_of
from coatcheck.storage.prefixes import ScopePrefixes
from tests.chains import KEY
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.activities import ACTIVITIES
from tests.integrations.temporal.paths.mirror import MirrorHandler
from tests.integrations.temporal.paths.nexus import new_endpoint

QUEUE: Final = "swept"
GATES: Final = ("gate", "other gate")
_AT_ONCE: Final = 6


def chain_on(folder: Path) -> Chain:
    """With nothing in memory: each is like a process of its own."""
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(FileStore(folder), over=512), cache=PayloadCache(2**24)
    )


def value(name: str) -> str:
    """Some 2 kB that do not compress, the same for the same name."""
    return "".join(sha256(f"{name} {number}".encode()).hexdigest() for number in range(60))


@dataclass
class World:
    """A namespace and a store."""

    server: TemporalServer
    folder: Path
    client: Client
    """With the plug-in."""
    plain: Client
    """Without."""
    live: set[str] = field(default_factory=set)
    """Workflow IDs whose objects must stay."""
    dead: set[str] = field(default_factory=set)
    """Those whose objects are to go."""
    _deleted: list[WorkflowExecution] = field(default_factory=list)
    _endpoint: str = ""
    _opened: set[str] = field(default_factory=set)
    """Gates behind which the server's workflow went on, with objects in one copy of the store only."""

    async def populate(self, count: int) -> None:
        """So many workflows that have ended, half of them deleted again, and two more that wait for somebody's word."""
        self._endpoint = await new_endpoint(self.plain, self.server.namespace, QUEUE)
        ways = (self._plain, self._reset, self._continued, self._child, self._abandoned, self._nexus)
        async with self.worker():
            places = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(
                *(
                    _within(places, ways[number // 2 % len(ways)](f"{number}-{uuid4()}", number % 2 == 0))
                    for number in range(count)
                )
            )
            for gate in GATES:
                await self._start(flows.Approve.run, value(gate), id=gate)
                self.live.add(gate)
            await asyncio.gather(*(_within(places, self._delete(run)) for run in self._deleted))
            await self._gone()

    def worker(self) -> Worker:
        """As of a process that has just been started, if the client is new."""
        return Worker(
            self.client,
            task_queue=QUEUE,
            workflows=flows.FLOWS,
            activities=ACTIVITIES,
            nexus_service_handlers=[MirrorHandler()],
        )

    async def keys_of(self, ids: Iterable[str]) -> set[str]:
        """Of the objects in the scopes of these workflows."""
        chain = chain_on(self.folder)
        addresses = ScopePrefixes(chain.sealings)
        prefixes = [
            prefix
            for run in ids
            for prefix in await addresses.of(Scope(self.server.namespace, run, engine="temporal"))
        ]
        return {key for key in await self.keys() for prefix in prefixes if key.startswith(prefix)}

    async def keys(self) -> set[str]:
        """Of everything that is in the store, but for what it remembers of whom it was swept for."""
        listing = FileStore(self.folder).list_objects()
        return {entry.key async for entry in listing if "/sweep-origin-" not in entry.key}

    async def decode_all(self) -> int:
        """Read every payload of all histories behind no open gate, with nothing in memory; how many there were."""
        converter = wrap_data_converter(
            DataConverter.default, chain_on(self.folder), namespace=self.server.namespace
        )
        codec = converter.payload_codec
        assert codec is not None
        count = 0
        async for run in self.plain.list_workflows():
            if run.id in self._opened:
                continue
            handle = self.plain.get_workflow_handle(run.id, run_id=run.run_id)
            for event in (await handle.fetch_history()).events:
                payloads = [payload for _, payload in payloads_of(event)]
                count += len(await codec.decode(payloads))
        return count

    async def decide(self, gate: str) -> list[Any]:
        """Open a gate, with a worker and a client that have nothing in memory, and give what the workflow gives."""
        self._opened.add(gate)
        later = await connect(self.server, self.folder)
        handle = later.get_workflow_handle(gate)
        await handle.signal(flows.Approve.decide, value("answer"))
        async with World(self.server, self.folder, later, self.plain).worker():
            result: list[Any] = await handle.result()
        return result

    def with_store(self, folder: Path) -> "World":
        """The same workflows, with a copy of their objects of its own."""
        copytree(self.folder, folder)
        return replace(self, folder=folder)

    async def delete(self, workflow_id: str) -> None:
        """Have the server forget a workflow, and wait until it has."""
        self._deleted.append(WorkflowExecution(workflow_id=workflow_id))
        await self._delete(self._deleted[-1])
        await self._gone()

    def _ended(self, workflow_id: str, *, deleted: bool) -> None:
        (self.dead if deleted else self.live).add(workflow_id)
        if deleted:
            self._deleted.append(WorkflowExecution(workflow_id=workflow_id))

    async def _start(self, workflow: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(workflow, args=args, task_queue=QUEUE, **options)

    async def _plain(self, name: str, deleted: bool) -> None:
        handle = await self._start(flows.ByActivity.run, value(name), id=name)
        assert await handle.result() == value(name)
        self._ended(name, deleted=deleted)

    async def _reset(self, name: str, deleted: bool) -> None:
        """The first run is deleted in any case: the second one has the signals that it was given."""
        handle = await self._start(flows.Mailbox.run, 1, id=name)
        await handle.signal(flows.Mailbox.put, value(name))
        await handle.result()
        events = (await self.plain.get_workflow_handle(name).fetch_history()).events
        done = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        first = WorkflowExecution(workflow_id=name, run_id=handle.first_execution_run_id or "")
        answer = await self.plain.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self.server.namespace,
                workflow_execution=first,
                reason="as the test wants",
                request_id=str(uuid4()),
                workflow_task_finish_event_id=done[0],
            )
        )
        again = self.client.get_workflow_handle(name, run_id=answer.run_id)
        assert await again.result() == [value(name)]
        self._deleted.append(first)
        self._ended(name, deleted=deleted)

    async def _continued(self, name: str, deleted: bool) -> None:
        """The first run is deleted in any case."""
        handle = await self._start(flows.ContinueAsNew.run, value(name), True, id=name)
        assert await handle.result() == [value(name)] * 2
        self._deleted.append(WorkflowExecution(workflow_id=name, run_id=handle.first_execution_run_id or ""))
        self._ended(name, deleted=deleted)

    async def _child(self, name: str, deleted: bool) -> None:
        """The child is deleted in any case: what it gave back stays as long as its parent."""
        handle = await self._start(flows.ByChild.run, value(name), id=name)
        assert await handle.result() == value(name)
        self._ended(name, deleted=deleted)
        self._ended(f"{name}-child", deleted=deleted)
        if not deleted:
            self._deleted.append(WorkflowExecution(workflow_id=f"{name}-child"))

    async def _abandoned(self, name: str, deleted: bool) -> None:
        """A parent that is deleted while what it signalled is kept, or the other way round."""
        receiver, sender = f"{name}-receiver", f"{name}-sender"
        handle = await self._start(flows.Mailbox.run, 1, id=receiver)
        await (await self._start(flows.Send.run, receiver, value(name), id=sender)).result()
        assert await handle.result() == [value(name)]
        self._ended(sender, deleted=deleted)
        # The sender's history has what it sent, and what it sent is the receiver's.
        self._ended(receiver, deleted=False)
        if not deleted:
            self._deleted.append(WorkflowExecution(workflow_id=receiver))

    async def _nexus(self, name: str, deleted: bool) -> None:
        """The handler is deleted in any case: what it gave back stays as long as the caller."""
        handle = await self._start(flows.Call.run, self._endpoint, "by_workflow", value(name), id=name)
        assert await handle.result() == value(name)
        (handler,) = {
            link.workflow_event.workflow_id
            for event in (await self.plain.get_workflow_handle(name).fetch_history()).events
            for link in event.links
        }
        self._ended(name, deleted=deleted)
        self._ended(handler, deleted=deleted)
        if not deleted:
            self._deleted.append(WorkflowExecution(workflow_id=handler))

    async def _delete(self, run: WorkflowExecution) -> None:
        await self.plain.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(namespace=self.server.namespace, workflow_execution=run)
        )

    async def _gone(self) -> None:
        """Wait until nothing is listed any more that was deleted; the server sends no event."""
        gone = {run.workflow_id for run in self._deleted if not run.run_id}
        first = {run.run_id for run in self._deleted if run.run_id}
        async with asyncio.timeout(60):
            while True:
                listed = [(run.id, run.run_id) async for run in self.plain.list_workflows()]
                if not any(run in gone or run_id in first for run, run_id in listed):
                    return
                await asyncio.sleep(0.1)


async def _within(places: asyncio.Semaphore, work: Awaitable[None]) -> None:
    async with places:
        await work


async def connect(server: TemporalServer, folder: Path) -> Client:
    """As a process does that has just been started."""
    plugin = ClaimCheckPlugin(chain_on(folder))
    return await Client.connect(server.address, namespace=server.namespace, plugins=[plugin])


async def new_world(server: TemporalServer, folder: Path, count: int) -> World:
    """A world in which so many workflows have ended."""
    client = await connect(server, folder)
    plain = await Client.connect(server.address, namespace=server.namespace)
    world = World(server, folder, client, plain)
    await world.populate(count)
    return world
