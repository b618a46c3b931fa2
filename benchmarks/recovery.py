"""Time until another worker continues after a worker was killed in step k.

``python -m benchmarks.recovery [--json [PATH]] [--plot PATH] [--rounds N]``. On a real Temporal server and a real S3 server
that is 50 ms away, each step of an agent gets the whole conversation; ways as in ``benchmarks.history``. During steps 15, 30
and 60 its worker is killed; once the server has noticed, a new process takes over. ``input_seconds`` is the time from
when it can take work until the step has its input again, ``back_seconds`` until the next step has its input: by then the
worker has replayed the whole history. ``requests`` are those to the store in that time.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import zip_longest
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.client import Client, WorkflowHandle

from benchmarks.charting.ways import CODEC, PLAIN, SDK
from benchmarks.engines.helper import Helper
from benchmarks.engines.s3 import S3, s3
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, medians, note, values
from benchmarks.history.process import Settings, process_of
from coatcheck.cli.demo.agent import AgentWorkflow, Talk
from coatcheck.cli.demo.server import dev_server

STEPS = (15, 30, 60)
CASES = (PLAIN, SDK, CODEC)
_DELAY = 0.05
"""Seconds added to each request to the store."""
_PATIENCE = 120.0
"""Seconds for any one operation."""


class Case:
    """One run of the agent, whose workers are killed.

    Args:
        name: One of :data:`CASES`.
        client: A client of the server; it decodes no payload.
        store: The store of the objects.
    """

    def __init__(self, name: str, client: Client, store: S3) -> None:
        self._name = name
        self._client = client
        self._store = store
        self._settings = Settings.of(client, name, store.new_bucket(name))

    async def measure(self, workflow: str, steps: tuple[int, ...]) -> list[Record]:
        """Kill a worker in each of ``steps``."""
        handle: WorkflowHandle[Any, Any] = await self._client.start_workflow(
            AgentWorkflow.run, Talk(seed=0, turns=steps[-1] + 1), id=workflow, task_queue=workflow
        )
        records: list[Record] = []
        await self._store.proxy.count_from_zero()
        async with process_of(self._settings) as process:
            await process.ask(_PATIENCE, do="take_over", workflow=workflow, until=steps[0])
        for step, following in zip_longest(steps, steps[1:]):
            await self._noticed(handle)
            async with self._back_at(workflow, step) as (process, rows):
                records += rows
                if following is not None:
                    await process.ask(_PATIENCE, do="go_on", until=following)
        await handle.terminate()
        return records

    @asynccontextmanager
    async def _back_at(self, workflow: str, step: int) -> AsyncIterator[tuple[Helper, list[Record]]]:
        """Let a new worker take over and reach the next step; yield it and its figures, and kill it at the end."""
        case = f"step {step} {self._name}"
        await self._store.proxy.count_from_zero(_DELAY)
        async with process_of(self._settings) as process:
            at = await process.ask(_PATIENCE, do="take_over", workflow=workflow, until=step + 1)
            requests = await self._store.proxy.requests()
            await self._store.proxy.count_from_zero()
            yield (
                process,
                [
                    Record(case, "input_seconds", at[str(step)], "s"),
                    Record(case, "back_seconds", at[str(step + 1)], "s"),
                    *(Record(case, kind, requests[kind], "requests") for kind in ("puts", "gets", "lists")),
                    Record(case, "requests", sum(requests.values()), "requests"),
                ],
            )

    async def _noticed(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Wait until the server offers the step to another worker: its time-outs are not measured."""
        execution = WorkflowExecution(workflow_id=handle.id)
        await self._client.workflow_service.reset_sticky_task_queue(
            ResetStickyTaskQueueRequest(namespace=self._client.namespace, execution=execution)
        )
        async with asyncio.timeout(_PATIENCE):
            while True:
                described = await handle.describe()
                pending = described.raw_description.pending_activities
                if pending and pending[0].attempt > 1:
                    break
                await asyncio.sleep(0.1)
        # The first pause of Temporal's default retry policy.
        await asyncio.sleep(1.2)


async def measure_all(
    rounds: int, steps: tuple[int, ...] = STEPS, cases: Iterable[str] = CASES
) -> list[Record]:
    """Measure every way and return the medians of the rounds."""
    records: list[Record] = []
    async with dev_server() as server, s3() as store:
        client = await Client.connect(server.address, namespace=server.namespace)
        measured = {name: Case(name, client, store) for name in cases}
        for number in range(rounds):
            for name, case in measured.items():
                note(f"{name}, round {number + 1} of {rounds}")
                records += await case.measure(f"{name}-{number}", steps)
    return medians(records)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__, chart="recovery")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; medians are shown (3)")
    options = parser.parse_args()
    with on_real_servers():
        records = asyncio.run(measure_all(options.rounds))
    show(records, options, targets.recovery(values(records)))


if __name__ == "__main__":
    main()
