"""A worker in a process of its own: ``python -m tests.integrations.temporal.rollout.worker ADDRESS QUEUE FOLDER STEP``.

It says when it works, and works until its input ends. Nothing has passed its chain when the first task comes: a process
that has used its keys already hides what the first use does inside the sandbox.
"""

import asyncio
import sys
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from tests.integrations.temporal.rollout.steps import plugins_of
from tests.integrations.temporal.rollout.work import ACTIVITIES, WORKFLOWS


async def main(address: str, queue: str, folder: str, step: str) -> None:
    """Work until the input ends."""
    client = await Client.connect(address, plugins=plugins_of(step, Path(folder)))
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        sys.stdout.write("works\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
