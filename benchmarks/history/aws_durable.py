"""Size of an agent's run in the checkpoints of AWS Durable Execution, plain and with coatcheck.

``python -m benchmarks.history --engine aws-durable [--turns N] [--json [PATH]]``. On the SDK's local runner: the demo's agent gets its
whole conversation from a step of each turn. AWS bills the bytes of checkpoints, and accepts 256 KB in each, which the local
runner does not enforce: the first turn above that is where a real execution would end. Objects are in a directory. Every
result is compared with the expected conversation, byte for byte.
"""

import json
import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python_testing.runner import DurableFunctionTestRunner
from aws_durable_execution_sdk_python_testing.stores.memory import InMemoryExecutionStore

from benchmarks.charting.ways import PLAIN
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, note, values
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.cli.demo.conversation import Message, conversation, turn
from coatcheck.integrations.aws_durable import ClaimCheck

CASES = (PLAIN, "coatcheck")
LIMIT = 256 * 1024
"""Bytes of a checkpoint, as the service has it."""
_SEED = 0
_PATIENCE = 300


def live(event: dict[str, int], context: DurableContext) -> list[Message]:
    """The agent: the result of each step is the whole conversation."""
    so_far: list[Message] = []
    for number in range(1, event["turns"] + 1):

        def say(_: object, number: int = number, so_far: list[Message] = so_far) -> list[Message]:
            return [*so_far, *turn(_SEED, number)]

        so_far = context.step(say, name="turn")
    return so_far


def measure(case: str, turns: int, folder: Path) -> list[Record]:
    """Measure one run."""
    claims = ClaimCheck(Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore(folder))))
    handler: Any = durable_execution(live) if case == PLAIN else claims.durable_execution(live)
    executions = InMemoryExecutionStore()
    with DurableFunctionTestRunner(handler, poll_interval=0.01, store=executions) as runner:
        start = time.perf_counter()
        done = runner.run(json.dumps({"turns": turns}), execution_timeout=_PATIENCE)
        seconds = time.perf_counter() - start
    runner._scheduler._loop.close()  # noqa: SLF001 - it stays open, and warns of that
    if done.result is None or claims.load(done.result) != conversation(_SEED, turns):
        raise AssertionError(f"{case}: the result differs from the conversation")
    (execution,) = executions.list_all()
    sizes = [len(update.payload.encode()) for update in execution.updates if update.payload]
    above = [number for number, size in enumerate(sizes, 1) if size > LIMIT]
    stored = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return [
        Record(case, "journal_bytes", sum(sizes), "bytes"),
        Record(case, "largest_checkpoint", max(sizes), "bytes"),
        Record(case, "first_turn_above_256_kb", above[0] if above else 0, "turn"),
        Record(case, "result_bytes", len(done.result.encode()), "bytes"),
        Record(case, "stored_bytes", sum(stored), "bytes"),
        Record(case, "objects", len(stored), "objects"),
        Record(case, "wall_seconds", seconds, "s"),
    ]


def measure_all(turns: int) -> list[Record]:
    """Measure both ways."""
    # The SDK's batcher and runner say a line for each checkpoint.
    logging.getLogger("aws_durable_execution_sdk_python_testing").setLevel(logging.ERROR)
    with TemporaryDirectory() as name:
        records = []
        for case in CASES:
            note(f"{case}, {turns} turns")
            records += measure(case, turns, Path(name, case))
        return records


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=60, help="turns of the agent (60)")
    options = parser.parse_args()
    records = measure_all(options.turns)
    show(records, options, targets.aws_durable(values(records)))


if __name__ == "__main__":
    main()
