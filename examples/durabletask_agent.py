# ruff: noqa: T201 - an example prints
"""A Durable Task agent whose worker is killed, and whose history holds references only.

    python examples/durabletask_agent.py

It starts the SDK's in-memory back end and a worker process. The agent takes its turns, and waits for a person. Then the worker is
killed with SIGKILL, another one takes over, and the person approves: the agent ends byte for byte as one that was never
killed, and no turn was taken twice. Against a real back end only the address differs.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped] # no stubs
from durabletask.client import TaskHubGrpcClient
from durabletask.internal.orchestrator_service_pb2_grpc import add_TaskHubSidecarServiceServicer_to_server
from durabletask.task import ActivityContext, OrchestrationContext
from durabletask.testing.in_memory_backend import InMemoryOrchestrationBackend
from durabletask.worker import TaskHubGrpcWorker

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.durabletask import ClaimCheckPayloadStore

TURNS = 12
WAITING = "waiting for approval"
KEYS = Keyring(Key(bytes(range(32))))
"""For the example; yours come from `Keyring.from_env()`."""


def payloads_in(folder: Path) -> ClaimCheckPayloadStore:
    """Return the payload store; worker and client have each their own, as in two processes."""
    return ClaimCheckPayloadStore(Chain(Zstd(), Encrypt(KEYS), Offload(FileStore(folder))))


def answer(conversation: list[str]) -> str:
    """Stand in for a model: 60 kB that depend on all that was said."""
    seen = hashlib.sha256("".join(conversation).encode())
    return " ".join(hashlib.sha256(seen.digest() + n.to_bytes(2)).hexdigest() for n in range(920))


def think(_: ActivityContext, conversation: list[str]) -> list[str]:
    """Take one turn, and note that it was taken."""
    with Path(os.environ["TURNS_TAKEN"]).open("a", encoding="utf-8") as taken:
        taken.write(f"{len(conversation)}\n")
    return [*conversation, answer(conversation)]


def agent(ctx: OrchestrationContext, question: str) -> Any:
    """Take turns, each with the whole conversation; then wait for a person."""
    conversation = [question]
    for _ in range(TURNS):
        conversation = yield ctx.call_activity(think, input=conversation)
    ctx.set_custom_status(WAITING)
    approval = yield ctx.wait_for_external_event("approval")
    return [*conversation, approval]


def work(address: str, folder: Path) -> None:
    """Be the worker process, until it is killed."""
    payloads = payloads_in(folder)
    with TaskHubGrpcWorker(
        host_address=address, payload_store=payloads, data_converter=payloads.converter()
    ) as worker:
        worker.add_orchestrator(agent)
        worker.add_activity(think)
        worker.start()  # type: ignore[no-untyped-call]
        signal.pause()


def expected(question: str, approval: str) -> list[str]:
    """Return how a run ends that nobody disturbs."""
    conversation = [question]
    for _ in range(TURNS):
        conversation.append(answer(conversation))
    return [*conversation, approval]


def run(folder: Path) -> None:
    """Start the agent, kill its worker, and see that it ends."""
    backend, server = InMemoryOrchestrationBackend(), grpc.server(ThreadPoolExecutor())
    add_TaskHubSidecarServiceServicer_to_server(backend, server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    taken = folder / "turns-taken"
    command = [sys.executable, __file__, "work", address, str(folder / "payloads")]
    environment = {**os.environ, "TURNS_TAKEN": str(taken)}
    payloads = payloads_in(folder / "payloads")
    with TaskHubGrpcClient(
        host_address=address, payload_store=payloads.for_clients(), data_converter=payloads.converter()
    ) as client:
        first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603 - this file
        question, approval = "What do the tides do?", "Approved by Ada. " * 500
        instance = client.schedule_new_orchestration(agent, input=question)
        while (state := client.get_orchestration_state(instance)) is None or (
            state.get_custom_status() != WAITING
        ):
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        print("killed with SIGKILL while it waited")

        second = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603 - this file
        client.raise_orchestration_event(instance, "approval", data=approval)
        ended = client.wait_for_orchestration_completion(instance, timeout=300)
        second.kill()
        second.wait()
    same = ended is not None and ended.get_output() == expected(question, approval)
    kept = backend._instances[instance].history  # noqa: SLF001 - to show what the back end has
    print(f"another worker ended it, byte for byte: {same}")
    print(f"{len(taken.read_text(encoding='utf-8').splitlines())} turns were taken of {TURNS}")
    print(f"{sum(event.ByteSize() for event in kept):,} bytes of history")
    backend.stop()
    server.stop(None).wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as name:
            run(Path(name))
