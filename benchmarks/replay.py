"""Duration of a replay, cold and warm, with a distant store, and whether it fits into a workflow task.

``python -m benchmarks.replay [--json [PATH]] [--quick]``. The demo's agent, on a real Temporal server and a real S3 server
behind a proxy that adds 50 or 300 ms to each request; ways and threshold as in ``benchmarks.history``.

- ``live``: the run itself at 50 ms, 60 steps.
- ``cold``: the SDK's ``Replayer`` replays the history in a process that knows nothing of the run; it has replayed a run of
  one step before, so that one-time work of a process is not measured. ``warm``: the same process replays it again.
- ``restart``: at 300 ms, a real worker in a new process takes over a run that has taken all of its 200 steps, and that waits
  for a signal, which is now sent. The whole run must be replayed within one workflow task, which has 10 seconds.
  ``task_time_outs`` are the tasks that were not completed in time; after 60 seconds the run counts as ``unfinished``. Only
  for ways that keep payloads outside the history: otherwise 200 steps exceed the server's 50 MiB.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.client import Client

from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, NATIVE, PLAIN, SDK
from benchmarks.engines.s3 import S3, s3
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, note, values
from benchmarks.history.process import Settings, process_of
from coatcheck.cli.demo.server import dev_server

CASES = (PLAIN, COMPRESS_ONLY, SDK, CODEC, NATIVE)
_IN_THE_HISTORY = (PLAIN, COMPRESS_ONLY)
_PATIENCE = 600.0
"""Seconds for any operation without its own bound."""
_RESTART_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes and delays of the runs."""

    live: int
    """Steps of the run that is measured and replayed."""
    waiting: int
    """Steps of the run that a new worker takes over."""
    delay: float
    """Seconds for each request of the measured run and its replays."""
    restart_delay: float
    """Seconds for each request of the new worker."""


FULL = Plan(60, 200, 0.05, 0.3)
QUICK = Plan(5, 10, 0.05, 0.05)


class Case:
    """One way, on both servers."""

    def __init__(self, name: str, client: Client, store: S3) -> None:
        self._name = name
        self._client = client
        self._store = store
        self._first = f"{name}-first"
        self._settings = Settings.of(client, name, store.new_bucket(name))

    async def measure(self, plan: Plan) -> list[Record]:
        """Measure the run, its replays and the restart."""
        live, waiting = f"{self._name}-live", f"{self._name}-waiting"
        records = await self._live(live, plan.live, plan.delay)
        records += await self._replay(live, plan.live, plan.delay)
        if self._name in _IN_THE_HISTORY:
            return records
        note(f"{self._name}: running {plan.waiting} steps")
        await self._store.proxy.count_from_zero()
        async with process_of(self._settings) as process:
            await process.ask(_PATIENCE, do="wait", workflow=waiting, turns=plan.waiting)
        return records + await self._restart(waiting, plan.waiting, plan.restart_delay)

    async def _live(self, workflow: str, turns: int, delay: float) -> list[Record]:
        case = self._where("live", turns, delay)
        note(case)
        async with process_of(self._settings) as process:
            await self._store.proxy.count_from_zero()
            await process.ask(_PATIENCE, do="live", workflow=self._first, turns=1)
            await self._store.proxy.count_from_zero(delay)
            took = await process.ask(_PATIENCE, do="live", workflow=workflow, turns=turns)
            requests = sum((await self._store.proxy.requests()).values())
            await self._check(await process.ask(_PATIENCE, do="equal", workflow=workflow, turns=turns))
        return [
            Record(case, "live_seconds", took["wall_seconds"], "s"),
            Record(case, "live_requests", requests, "requests"),
        ]

    async def _replay(self, workflow: str, turns: int, delay: float) -> list[Record]:
        case = self._where("replay", turns, delay)
        note(case)
        records = []
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
            Record(case, "unfinished", int(took is None), "runs"),
            Record(case, "task_time_outs", time_outs, "tasks"),
            Record(case, "requests", requests, "requests"),
        ]

    async def _check(self, answer: dict[str, bool]) -> None:
        if not answer["equal"]:
            raise AssertionError(f"{self._name}: the result differs from the conversation")

    def _where(self, what: str, turns: int, delay: float) -> str:
        return f"{what}, {turns} steps, {delay * 1000:.0f} ms {self._name}"


async def measure_all(plan: Plan, cases: Iterable[str] = CASES) -> list[Record]:
    """Measure every way."""
    records: list[Record] = []
    async with dev_server() as server, s3() as store:
        client = await Client.connect(server.address, namespace=server.namespace)
        for name in cases:
            records += await Case(name, client, store).measure(plan)
    return records


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="only a few steps, as a test")
    options = parser.parse_args()
    with on_real_servers():
        records = asyncio.run(measure_all(QUICK if options.quick else FULL))
    show(records, options, targets.replay(values(records)))


if __name__ == "__main__":
    main()
