"""A worker of ``benchmarks.recovery``: ``python -m benchmarks.recovery_worker SETTINGS``.

Prints one JSON object a line, when it is ready and when a step has its input: the step's number, the seconds on the
process's clock, and what the store was asked for until then. Ends when its standard input does.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.counted import Counted
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.cli.demo.agent import Agent, AgentWorkflow
from coatcheck.integrations.temporal import ClaimCheckPlugin


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told."""

    address: str
    namespace: str
    task_queue: str
    hold_at: int
    """The step in which it stays until it is killed."""
    folder: str = ""
    """Where offloaded objects go; empty for a worker without the chain."""
    delay: float = 0.0
    """Seconds that the store takes for each request."""

    def to_text(self) -> str:
        """One line, for the command line."""
        return json.dumps(asdict(self))


async def connect(settings: Settings) -> tuple[Client, Counted]:
    """A client, and the store that counts what the client's chain asks for."""
    store = Counted(FileStore(settings.folder or "."), settings.delay)
    chain = Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(store))
    plugins = [ClaimCheckPlugin(chain)] if settings.folder else []
    return await Client.connect(settings.address, namespace=settings.namespace, plugins=plugins), store


async def work(settings: Settings) -> None:
    """Take work until standard input ends."""
    client, store = await connect(settings)

    def say(step: int) -> None:
        line = {"step": step, "seconds": time.perf_counter(), "requests": store.requests}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def begin(number: int) -> None:
        say(number)
        if number == settings.hold_at:
            await asyncio.Event().wait()

    async with Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[AgentWorkflow],
        activities=[Agent(begin).step],
        identity=f"worker-{os.getpid()}",
    ):
        say(0)
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(work(Settings(**json.loads(sys.argv[1]))))
