"""A worker process: ``python -m coatcheck.cli.demo.worker SETTINGS``.

Prints ``ready`` when it accepts work and ``turn K`` when step K has its input. Ends with its standard input, so that
it cannot outlive the demo.
"""

import asyncio
import os
import sys
from datetime import timedelta

from temporalio.worker import Worker

from coatcheck.cli.demo.agent import Agent, AgentWorkflow
from coatcheck.cli.demo.settings import WorkerSettings, connect


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def work(settings: WorkerSettings) -> None:
    """Take work until standard input ends."""

    async def begin(number: int) -> None:
        _say(f"turn {number}")
        if number == settings.hold_at:
            await asyncio.Event().wait()

    client = await connect(settings.server, settings.folder)
    async with Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[AgentWorkflow],
        activities=[Agent(begin).step],
        identity=f"worker-{os.getpid()}",
        # Bounds the time until a workflow leaves a killed worker.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    ):
        _say("ready")
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(work(WorkerSettings.from_text(sys.argv[1])))
