"""Size of an agent's history in Durable Task, plain and with coatcheck.

``python -m benchmarks.history --engine durabletask [--turns N] [--json [PATH]]``. On the SDK's in-memory back end, over gRPC: the demo's
agent is an orchestrator whose activity gets and returns the whole conversation. Each dispatch carries the whole history, and
gRPC takes 4 MB: a plain run stalls there, and its turns until then are counted. The result is compared with the expected
conversation, byte for byte.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from durabletask.client import OrchestrationStatus
from durabletask.task import ActivityContext, OrchestrationContext

from benchmarks.charting.ways import PLAIN
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, note, values
from coatcheck import FileStore
from coatcheck.cli.demo.conversation import Message, conversation, turn
from tests.integrations.durabletask.hub import Hub, Said, payloads_on, task_hub

CASES = (PLAIN, "coatcheck")
_SEED = 0
_PATIENCE = 600.0
_STALLED = "RESOURCE_EXHAUSTED"


def agent(ctx: OrchestrationContext, turns: int) -> Any:
    """Hand the whole conversation to each turn."""
    so_far: list[Message] = []
    for number in range(1, turns + 1):
        so_far = yield ctx.call_activity(say, input=[so_far, number])
    return so_far


def say(_: ActivityContext, given: list[Any]) -> list[Message]:
    """Take one turn."""
    so_far, number = given
    return [*so_far, *turn(_SEED, number)]


def measure(case: str, turns: int, hub: Hub, folder: Path) -> list[Record]:
    """Measure one run, to its end or until it stalls."""
    stalled = Said(_STALLED)
    store = None if case == PLAIN else payloads_on(FileStore(folder))
    with hub.client(store) as client, hub.worker(store, agent, activities=[say], said=stalled):
        start = time.perf_counter()
        instance = client.schedule_new_orchestration(agent, input=turns)
        while not stalled.heard.wait(0.02) and time.perf_counter() - start < _PATIENCE:
            state = client.get_orchestration_state(instance, fetch_payloads=False)
            if (
                state is not None
                and state.runtime_status is not OrchestrationStatus.RUNNING
                and _taken(hub, instance)
            ):
                break
        seconds = time.perf_counter() - start
        if not stalled.heard.is_set():
            ended = client.get_orchestration_state(instance)
            if ended is None or ended.serialized_output != json.dumps(conversation(_SEED, turns)):
                raise AssertionError(f"{case}: the result differs from the conversation")
    stored = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return [
        Record(case, "turns", _taken(hub, instance), "turns"),
        Record(case, "history_bytes", len(hub.journal(instance)), "bytes"),
        Record(case, "stored_bytes", sum(stored), "bytes"),
        Record(case, "objects", len(stored), "objects"),
        Record(case, "wall_seconds", seconds, "s"),
    ]


def measure_all(turns: int) -> list[Record]:
    """Measure both ways."""
    records = []
    for case in CASES:
        note(f"{case}, {turns} turns")
        with TemporaryDirectory() as name, task_hub() as hub:
            records += measure(case, turns, hub, Path(name))
    return records


def _taken(hub: Hub, instance: str) -> int:
    """Return the turns whose results are in the history."""
    return sum(event.HasField("taskCompleted") for event in hub.history(instance))


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=60, help="turns of the agent (60)")
    options = parser.parse_args()
    records = measure_all(options.turns)
    show(records, options, targets.durabletask(values(records), options.turns))


if __name__ == "__main__":
    main()
