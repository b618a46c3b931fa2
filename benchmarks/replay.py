"""How long does a replay take, cold and warm, where the store is far away, and does a workflow task have the time for it?

``python -m benchmarks.replay [--json [PATH]] [--quick]``. The demo's agent, on a real Temporal server and a real S3 server
behind a proxy that adds 0, 50 or 300 ms to each request; ways and threshold as in ``benchmarks.history``.

- ``live``: the run itself at 50 ms.
- ``cold``: its history goes through the SDK's ``Replayer`` in a process that knows nothing of the run; it has replayed a run
  of one step before, so that what a process does once is not measured. ``warm``: the same process replays it once more.
- ``restart``: a real worker in a new process, which has done nothing yet, takes over a run that has taken all its steps and
  waits for a signal, which it now gets. All of it has to be replayed inside one workflow task, which has 10 seconds.
  ``task_time_outs`` are the tasks that were not completed in time; after 90 seconds we wait no longer, and the run is
  ``unfinished``.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.client import Client

from benchmarks.engines.s3 import S3, s3
from benchmarks.history_cases import CODEC, NATIVE, SDK
from benchmarks.history_process import Settings, process_of
from benchmarks.history_report import arguments, note, show
from benchmarks.records import Record
from benchmarks.replay_targets import ratios, targets
from coatcheck.cli.demo.server import dev_server

CASES = (SDK, CODEC, NATIVE)
_LIVE_DELAY = 0.05
_PATIENCE = 600.0
"""Seconds for anything that has no bound of its own; the longest replay needs 120 in round trips alone."""
_RESTART_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    live: int
    """Steps of the run that is measured as it runs, and is replayed."""
    waiting: int
    """Steps of the run that is replayed, and then taken over."""
    delays: Sequence[float]
    """Seconds a request, at which both are replayed; the last one is that of the restart."""


FULL = Plan(60, 200, (0.0, 0.05, 0.3))
QUICK = Plan(5, 10, (0.0, 0.05))


class Case:
    """One way on both servers."""

    def __init__(self, name: str, client: Client, store: S3) -> None:
        self._name = name
        self._client = client
        self._store = store
        self._first = f"{name}-first"
        self._settings = Settings.of(client, name, store.new_bucket(name))

    async def measure(self, plan: Plan) -> list[Record]:
        """All that is asked of it."""
        live, waiting = f"{self._name}-live", f"{self._name}-waiting"
        records = await self._live(live, plan.live)
        records += await self._replays(live, plan.live, plan.delays)
        note(f"{self._name}: {plan.waiting} steps are taken")
        await self._store.proxy.count_from_zero()
        async with process_of(self._settings) as process:
            await process.ask(_PATIENCE, do="wait", workflow=waiting, turns=plan.waiting)
        records += await self._replays(waiting, plan.waiting, plan.delays)
        records += await self._restart(waiting, plan.waiting, plan.delays[-1])
        return records

    async def _live(self, workflow: str, turns: int) -> list[Record]:
        case = self._where("live", turns, _LIVE_DELAY)
        note(case)
        async with process_of(self._settings) as process:
            await self._store.proxy.count_from_zero()
            await process.ask(_PATIENCE, do="live", workflow=self._first, turns=1)
            await self._store.proxy.count_from_zero(_LIVE_DELAY)
            took = await process.ask(_PATIENCE, do="live", workflow=workflow, turns=turns)
            requests = sum((await self._store.proxy.requests()).values())
            await self._check(await process.ask(_PATIENCE, do="equal", workflow=workflow, turns=turns))
        return [
            Record(case, "live_seconds", took["wall_seconds"], "s"),
            Record(case, "live_requests", requests, "requests"),
        ]

    async def _replays(self, workflow: str, turns: int, delays: Sequence[float]) -> list[Record]:
        records = []
        for delay in delays:
            case = self._where("replay", turns, delay)
            note(case)
            async with process_of(self._settings) as process:
                await self._store.proxy.count_from_zero()
                await process.ask(_PATIENCE, do="replay", workflow=self._first)
                for kind in ("cold", "warm"):
                    await self._store.proxy.count_from_zero(delay)
                    took = await process.ask(_PATIENCE, do="replay", workflow=workflow)
                    requests = sum((await self._store.proxy.requests()).values())
                    records += [
                        Record(case, f"{kind}_seconds", took["wall_seconds"], "s"),
                        Record(case, f"{kind}_cpu_seconds", took["cpu_seconds"], "s"),
                        Record(case, f"{kind}_requests", requests, "requests"),
                    ]
        return records

    async def _restart(self, workflow: str, turns: int, delay: float) -> list[Record]:
        case = self._where("restart", turns, delay)
        note(case)
        await self._store.proxy.count_from_zero(delay)
        async with process_of(self._settings) as process:
            try:
                took = await process.ask(_RESTART_SECONDS, do="resume", workflow=workflow)
            except TimeoutError:
                took = None
            else:
                await self._check(await process.ask(_PATIENCE, do="equal", workflow=workflow, turns=turns))
        requests = sum((await self._store.proxy.requests()).values())
        handle = self._client.get_workflow_handle(workflow)
        time_outs = 0
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                kind = event.workflow_task_timed_out_event_attributes.timeout_type
                time_outs += kind == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
        if took is None:
            await handle.terminate()
        return [
            Record(case, "seconds", took["wall_seconds"] if took else _RESTART_SECONDS, "s"),
            Record(case, "unfinished", took is None, "runs"),
            Record(case, "task_time_outs", time_outs, "tasks"),
            Record(case, "requests", requests, "requests"),
        ]

    async def _check(self, answer: dict[str, bool]) -> None:
        if not answer["equal"]:
            raise AssertionError(f"{self._name}: the result is not the conversation")

    def _where(self, what: str, turns: int, delay: float) -> str:
        return f"{what}, {turns} steps, {delay * 1000:.0f} ms {self._name}"


async def measure_all(plan: Plan) -> list[Record]:
    """Every way, and how ours compare with the SDK's."""
    records: list[Record] = []
    async with dev_server() as server, s3() as store:
        client = await Client.connect(server.address, namespace=server.namespace)
        for name in CASES:
            records += await Case(name, client, store).measure(plan)
    return records + ratios(records)


def main() -> None:
    """Run."""
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps: to see that it works")
    options = parser.parse_args()
    try:
        records = asyncio.run(measure_all(QUICK if options.quick else FULL))
    except pytest.skip.Exception as unavailable:
        raise SystemExit(str(unavailable)) from None
    show(records, targets(records), options.json)


if __name__ == "__main__":
    main()
