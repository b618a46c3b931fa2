"""How long does it take to be back at step k after a worker was killed?

``python -m benchmarks.recovery [--json PATH] [--plot PATH] [--rounds N]``. On a real Temporal server an agent is given
its whole conversation at each step. In the middle of steps 15, 30 and 60 its worker is killed; another process, which
has nothing yet, takes over when the server has noticed. ``input`` is the time from when it can take work until the step
has its input again, ``replay`` from there until the next step has its own: the worker has gone through the whole history
by then. ``puts``, ``gets`` and ``lists`` are what it asked the store for in both.

``plain`` is without the chain, ``coatcheck file`` over a directory, ``coatcheck 50 ms`` over one that is 50 ms away.
"""

import asyncio
import json
import statistics
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.client import Client, WorkflowHandle

from benchmarks.records import Record, arguments, show
from benchmarks.recovery_worker import Settings, connect
from coatcheck.cli.demo.agent import AgentWorkflow, Talk
from coatcheck.cli.demo.server import Server, dev_server

STEPS = (15, 30, 60)
CASES = {"plain": None, "coatcheck file": 0.0, "coatcheck 50 ms": 0.05}
"""Seconds that the store takes for a request; None for no store."""
_REQUESTS = ("puts", "gets", "lists")
_PATIENCE = 120.0
"""Seconds for anything at all."""


@dataclass(slots=True)
class Seen:
    """What a worker said of its steps; 0 is when it was ready."""

    seconds: dict[int, float] = field(default_factory=dict)
    requests: dict[int, dict[str, int]] = field(default_factory=dict)

    def records(self, case: str, step: int) -> list[Record]:
        """The figures of the worker that took over in ``step``."""
        at, ready = self.seconds, self.seconds[0]
        return [
            Record(case, "input", (at[step] - ready) * 1e3, "ms"),
            Record(case, "replay", (at[step + 1] - at[step]) * 1e3, "ms"),
            Record(case, "together", (at[step + 1] - ready) * 1e3, "ms"),
            *(
                Record(case, f"input_{kind}", self.requests[step].get(kind, 0), "requests")
                for kind in _REQUESTS
            ),
            *(Record(case, kind, self.requests[step + 1].get(kind, 0), "requests") for kind in _REQUESTS),
        ]


async def measure(case: str, server: Server, folder: Path) -> list[Record]:
    """One run of the agent, and three workers of it that are killed.

    Args:
        case: One of :data:`CASES`.
        server: Where.
        folder: For the objects, does not exist yet; its name is that of the run.
    """
    delay = CASES[case]
    name = folder.name
    await asyncio.to_thread(folder.mkdir)
    stops = [*STEPS, STEPS[-1] + 1]
    settings = Settings(
        server.address,
        server.namespace,
        name,
        stops[0],
        str(folder) if delay is not None else "",
        delay or 0.0,
    )
    client, _ = await connect(settings)
    handle: WorkflowHandle[Any, Any] = await client.start_workflow(
        AgentWorkflow.run, Talk(seed=0, turns=stops[-1]), id=name, task_queue=name
    )
    records: list[Record] = []
    async with _worker(settings, stops[0]):
        pass
    for step, stop in pairwise(stops):
        await _noticed(client, handle)
        described = await handle.describe()
        size = described.raw_description.workflow_execution_info.history_size_bytes
        async with _worker(replace(settings, hold_at=stop), stop) as seen:
            rows = [Record("", "history", size / 1e6, "MB"), *seen.records("", step)]
        records += [Record(f"step {step} {case}", row.name, row.value, row.unit) for row in rows]
    await handle.terminate()
    return records


@asynccontextmanager
async def _worker(settings: Settings, until: int) -> AsyncIterator[Seen]:
    """Start a worker, follow it until step ``until`` has its input, and kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.recovery_worker", settings.to_text(), stdin=PIPE, stdout=PIPE
    )
    seen = Seen()
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            while until not in seen.seconds:
                line = await process.stdout.readline()
                if not line:
                    raise RuntimeError("a worker ended by itself")
                if line.startswith(b"{"):  # the SDK logs into the same pipe
                    said = json.loads(line)
                    seen.seconds.setdefault(said["step"], said["seconds"])
                    seen.requests.setdefault(said["step"], said["requests"])
        yield seen
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _noticed(client: Client, handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the server offers the step to another worker, so that its time-outs are not measured."""
    execution = WorkflowExecution(workflow_id=handle.id)
    await client.workflow_service.reset_sticky_task_queue(
        ResetStickyTaskQueueRequest(namespace=client.namespace, execution=execution)
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


async def measure_all(rounds: int) -> list[Record]:
    """The medians of the rounds."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    with TemporaryDirectory(prefix="coatcheck-recovery-") as folder:
        async with dev_server() as server:
            for number in range(rounds):
                for case in CASES:
                    name = f"{case.replace(' ', '-')}-{number}"
                    for row in await measure(case, server, Path(folder, name)):
                        rows.setdefault((row.case, row.name, row.unit), []).append(row.value)
    return [
        Record(case, name, statistics.median(values), unit) for (case, name, unit), values in rows.items()
    ]


def main() -> None:
    """Run."""
    parser = arguments(__doc__)
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the figures into PATH as well (PNG)")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the medians are shown (3)")
    options = parser.parse_args()
    records = asyncio.run(measure_all(options.rounds))
    show(records, options.json)
    if options.plot is not None:
        from benchmarks.recovery_chart import draw  # noqa: PLC0415 - matplotlib is slow to load

        draw(records, options.plot)


if __name__ == "__main__":
    main()
