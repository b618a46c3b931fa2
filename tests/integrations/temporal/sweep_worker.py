"""A worker that sweeps, as a process of its own: ``python -m tests.integrations.temporal.sweep_worker ADDRESS NAMESPACE FOLDER RATE``."""

import asyncio
import sys
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from coatcheck.integrations.temporal.sweep import TASK_QUEUE, SweepActivities, SweepWorkflow
from tests.integrations.temporal.swept_world import chain_on


async def main(address: str, namespace: str, folder: str, requests_per_second: str) -> None:
    """Work until it is killed."""
    client = await Client.connect(address, namespace=namespace)
    activities = SweepActivities(
        chain_on(Path(folder)), client, requests_per_second=float(requests_per_second)
    )
    worker = Worker(client, task_queue=TASK_QUEUE, workflows=[SweepWorkflow], activities=activities.all)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
