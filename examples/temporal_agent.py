# ruff: noqa: T201 - an example prints
"""A Temporal agent whose history holds references only.

    temporal server start-dev                      # in one terminal
    python examples/temporal_agent.py serve        # in another one
    python examples/temporal_agent.py talk         # in a third one

Each turn is given the whole conversation, as agents do it. A refund waits for somebody's approval, who sends a report of
200 KB with it. Only `connect` differs from a plain agent. ``TEMPORAL_ADDRESS`` names another server.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin

TURNS = 12
TASK_QUEUE = "support"


async def connect() -> Client:
    """A client whose payloads go through a chain; workers made from it have the chain too."""
    keys = Keyring(Key(bytes(range(32))))  # for the example; yours come from Keyring.from_env()
    store = FileStore(Path(tempfile.gettempdir()) / "coatcheck-temporal")
    chain = Chain(Zstd(), Encrypt(keys), Offload(store))
    address = os.environ.get("TEMPORAL_ADDRESS", "localhost:7233")
    return await Client.connect(address, plugins=[ClaimCheckPlugin(chain)])


@dataclass
class Message:
    """One message of the conversation."""

    role: str
    content: str


@activity.defn
async def think(conversation: list[Message]) -> Message:
    """Stands in for a model: an answer of about 6 KB that depends on all that was said."""
    seen = hashlib.sha256("".join(message.content for message in conversation).encode())
    words = (hashlib.sha256(seen.digest() + bytes([n])).hexdigest() for n in range(96))
    return Message("assistant", " ".join(words))


@workflow.defn
class SupportAgent:
    """Some turns, an approval, and the conversation as the result."""

    def __init__(self) -> None:
        self._report: str | None = None

    @workflow.update
    async def approve(self, report: str) -> None:
        """What a person found out."""
        self._report = report

    @workflow.run
    async def run(self, question: str) -> list[Message]:
        """Answer one question."""
        conversation = [Message("user", question)]
        for _ in range(TURNS):
            answer = await workflow.execute_activity(
                think, conversation, start_to_close_timeout=timedelta(seconds=30)
            )
            conversation.append(answer)
        await workflow.wait_condition(lambda: self._report is not None)
        conversation.append(Message("reviewer", self._report or ""))
        return conversation


async def serve() -> None:
    """The worker."""
    client = await connect()
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[SupportAgent], activities=[think]):
        print("working", flush=True)
        await asyncio.Event().wait()


async def talk() -> None:
    """Ask, approve, and look at what the server keeps."""
    client = await connect()
    handle = await client.start_workflow(
        SupportAgent.run, "Where is my refund?", id=f"support-{uuid.uuid4()}", task_queue=TASK_QUEUE
    )
    await handle.execute_update(SupportAgent.approve, "All receipts were checked. " * 7500)
    conversation = await handle.result()
    history = await handle.fetch_history()
    said = sum(len(message.content) for message in conversation)
    kept = sum(event.ByteSize() for event in history.events)
    print(f"the conversation has {len(conversation)} messages and {said:,} characters")
    print(f"the history of {handle.id} has {len(history.events)} events and {kept:,} bytes")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["talk"]:
            asyncio.run(talk())
        case _:
            sys.exit(__doc__)
