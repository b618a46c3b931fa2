"""Growth of an agent's history, turn by turn, until the server ends the run.

``python -m benchmarks.growth [--turns N] [--json [PATH]] [--plot PATH]``. On a real Temporal server and a real S3 server; ways
as in ``benchmarks.history``. ``history_bytes`` are all events up to and including the end of that turn's step,
``stored_bytes`` all objects in the bucket at the end. A run that the server terminates is not ``completed``.
"""

import asyncio

from temporalio.client import Client

from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, PLAIN, SDK
from benchmarks.engines.s3 import S3, s3
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, note, values
from benchmarks.history.process import Settings, process_of
from coatcheck.cli.demo.history import read_history
from coatcheck.cli.demo.server import dev_server

CASES = (PLAIN, COMPRESS_ONLY, SDK, CODEC)
_PATIENCE = 300.0


async def measure(case: str, turns: int, client: Client, store: S3) -> list[Record]:
    """Measure one run in its own process."""
    bucket = store.new_bucket(case)
    async with process_of(Settings.of(client, case, bucket)) as process:
        await process.ask(_PATIENCE, do="live", workflow=case, turns=turns)
        history = await read_history(client.get_workflow_handle(case))
        completed = history.status == "completed"
        if completed and not (await process.ask(_PATIENCE, do="equal", workflow=case, turns=turns))["equal"]:
            raise AssertionError(f"{case}: the result differs from the conversation")
    where = f"{turns} turns {case}"
    return [
        Record(where, "completed", int(completed), "runs"),
        Record(where, "turns", len(history.size_after_turn), "turns"),
        Record(where, "history_bytes", history.size, "bytes"),
        Record(where, "stored_bytes", sum(store.sizes(bucket)), "bytes"),
        *(
            Record(f"turn {number} {case}", "history_bytes", size, "bytes")
            for number, size in enumerate(history.size_after_turn, 1)
        ),
    ]


async def measure_all(turns: int) -> list[Record]:
    """Measure every way."""
    records: list[Record] = []
    async with dev_server() as server, s3() as store:
        client = await Client.connect(server.address, namespace=server.namespace)
        for case in CASES:
            note(f"{case}, {turns} turns")
            records += await measure(case, turns, client, store)
    return records


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__, chart="growth")
    parser.add_argument("--turns", type=int, default=120, help="turns of the agent (120)")
    options = parser.parse_args()
    with on_real_servers():
        records = asyncio.run(measure_all(options.turns))
    show(records, options, targets.growth(values(records)))


if __name__ == "__main__":
    main()
