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

_PATIENCE = 60
"""Seconds until the SDK calls a workflow deadlocked, where it says 2: on a busy machine a thread may wait that long."""


async def main(address: str, queue: str, folder: str, step: str) -> None:
    """Work until the input ends."""
    client = await Client.connect(address, plugins=plugins_of(step, Path(folder)))
    worker = Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES)
    # No parameter of the SDK sets it alone: its debug mode runs workflows in another way, too.
    workflows = worker._workflow_worker
    assert workflows is not None
    assert workflows._deadlock_timeout_seconds == 2
    workflows._deadlock_timeout_seconds = _PATIENCE
    async with worker:
        sys.stdout.write("works\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
