"""The SDK's in-memory back end on a real socket, and workers and clients on chains."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped] # no stubs
from durabletask.client import OrchestrationState, OrchestrationStatus, TaskHubGrpcClient
from durabletask.internal.orchestrator_service_pb2 import HistoryEvent
from durabletask.internal.orchestrator_service_pb2_grpc import add_TaskHubSidecarServiceServicer_to_server
from durabletask.testing.in_memory_backend import InMemoryOrchestrationBackend
from durabletask.worker import TaskHubGrpcWorker

from coatcheck import Chain, Encrypt, Keyring, Offload, PayloadCache, Store, Zstd
from coatcheck.integrations.durabletask import ClaimCheckPayloadStore
from tests.chains import KEY

PATIENCE = 180
"""Seconds that a run may take. Nothing here takes one."""


class Hub:
    """A task hub."""

    def __init__(self, backend: InMemoryOrchestrationBackend, address: str) -> None:
        self.backend = backend
        self.address = address

    def client(self, store: ClaimCheckPayloadStore | None = None) -> TaskHubGrpcClient:
        """A client; with a converter where it has a store."""
        converter = store.converter() if store else None
        return TaskHubGrpcClient(
            host_address=self.address,
            payload_store=store.for_clients() if store else None,
            data_converter=converter,
        )

    @contextmanager
    def worker(
        self,
        store: ClaimCheckPayloadStore | None,
        *parts: Callable[..., Any],
        activities: Sequence[Callable[..., Any]] = (),
        entities: Sequence[Any] = (),
        said: "Said | None" = None,
    ) -> Iterator[TaskHubGrpcWorker]:
        """A worker with these orchestrators, activities and entities, in this process."""
        with TaskHubGrpcWorker(
            host_address=self.address,
            payload_store=store,
            data_converter=store.converter() if store else None,
            logger=said.logger if said else None,
        ) as worker:
            for part in parts:
                worker.add_orchestrator(part)
            for part in activities:
                worker.add_activity(part)
            for part in entities:
                worker.add_entity(part)
            worker.start()  # type: ignore[no-untyped-call]
            yield worker

    def history(self, instance: str) -> list[HistoryEvent]:
        """The events of an orchestration."""
        return list(self.backend._instances[instance].history)

    def journal(self, instance: str) -> bytes:
        """Everything that the back end has of an orchestration, as it goes over the wire."""
        kept = self.backend._instances[instance]
        texts = [kept.input or "", kept.output or "", kept.custom_status or ""]
        events = [event.SerializeToString() for event in (*kept.history, *kept.pending_events)]
        return b"\n".join([*(text.encode() for text in texts), *events])

    def everything(self) -> bytes:
        """Everything that the back end has of all orchestrations and entities."""
        entities = [
            [
                (entity.serialized_state or "").encode(),
                *(e.SerializeToString() for e in entity.pending_operations),
            ]
            for entity in self.backend._entities.values()
        ]
        return b"\n".join(
            [
                *(self.journal(instance) for instance in self.backend._instances),
                *(part for of in entities for part in of),
            ]
        )


@contextmanager
def task_hub() -> Iterator[Hub]:
    """A back end on a free port of 127.0.0.1; the SDK's own start() would listen everywhere."""
    backend = InMemoryOrchestrationBackend()
    server = grpc.server(ThreadPoolExecutor(max_workers=32))
    add_TaskHubSidecarServiceServicer_to_server(backend, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    backend._server = server
    try:
        yield Hub(backend, f"127.0.0.1:{port}")
    finally:
        backend.stop()


def chain_on(store: Store, *, over: int = 2048, deadline: float = 30.0) -> Chain:
    """A chain that has nothing in memory."""
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(store, over=over, deadline=deadline),
        cache=PayloadCache(2**25),
    )


def payloads_on(store: Store, **settings: Any) -> ClaimCheckPayloadStore:
    """A payload store on such a chain."""
    return ClaimCheckPayloadStore(chain_on(store), **settings)


def ended(client: TaskHubGrpcClient, instance: str) -> OrchestrationState:
    """The state of an orchestration that has to complete."""
    state = client.wait_for_orchestration_completion(instance, timeout=PATIENCE)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.COMPLETED, state.failure_details
    return state


def output(client: TaskHubGrpcClient, instance: str) -> Any:
    """The output of an orchestration that has to complete."""
    return ended(client, instance).get_output()


class Said(logging.Handler):
    """Waits for a log record of a worker's."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.heard = threading.Event()
        self.times = 0
        self.logger = logging.Logger("durabletask")  # noqa: LOG001 - the SDK makes its own so, too
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.times += 1
            self.heard.set()
