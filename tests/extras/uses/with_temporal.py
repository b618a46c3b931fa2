"""``with_temporal.py ADDRESS``: a workflow whose payloads are offloaded."""

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from chains import chain_on
    from temporalio.client import Client
    from temporalio.worker import Worker

    from coatcheck import MemoryStore
    from coatcheck.integrations.temporal import ClaimCheckPlugin

SIZE = 100_000


@activity.defn
async def answer(question: str) -> str:
    return question[::-1]


@workflow.defn
class Asked:
    @workflow.run
    async def run(self, question: str) -> str:
        return await workflow.execute_activity(answer, question, start_to_close_timeout=timedelta(seconds=20))


async def main(address: str) -> None:
    client = await Client.connect(address, plugins=[ClaimCheckPlugin(chain_on(MemoryStore()))])
    question = "".join(f"{n * 2654435761 % 2**32:08x}" for n in range(SIZE // 8))
    async with Worker(client, task_queue="extra", workflows=[Asked], activities=[answer]):
        handle = await client.start_workflow(Asked.run, question, id="extra", task_queue="extra")
        assert await handle.result() == question[::-1]
    history = await handle.fetch_history()
    size = sum(event.ByteSize() for event in history.events)
    assert size < SIZE / 10, size


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
