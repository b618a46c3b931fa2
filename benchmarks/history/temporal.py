"""Size and cost of an agent's run in Temporal: plain, with the SDK's external storage, and with coatcheck.

``python -m benchmarks.history [--engine temporal] [--turns N] [--rounds N] [--json [PATH]]``. On a real Temporal server and a real S3 server
(SeaweedFS), each step of the demo's agent gets the whole conversation. Ways:

- ``plain``: everything is in the history.
- ``compress-only``: the codec that teams write first: zlib, and everything is in the history.
- ``sdk``: the SDK's external storage and its S3 driver, with coatcheck's threshold, so that about the same payloads are
  offloaded. It neither compresses nor encrypts.
- ``sdk-256k``: the same, with the SDK's own threshold.
- ``coatcheck-codec``, ``coatcheck-native``: compressed, deltas, encrypted, offloaded; both modes of the plug-in.

Each run has its own process: first a run of one turn, so that one-time work of a process is not measured, then the run, then
its replay by the same process. Requests are counted by a proxy in front of S3, bytes and objects in the bucket, the history
by the server. Every result is compared with the expected conversation, byte for byte. The ways take turns; seconds are
the medians of the rounds, all other figures are those of the last round.
"""

import asyncio

from temporalio.client import Client

from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, NATIVE, PLAIN, SDK, SDK_256K
from benchmarks.engines.s3 import S3, Bucket, s3
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, medians, note, values
from benchmarks.history.process import Settings, process_of
from coatcheck.cli.demo.server import dev_server

CASES = (PLAIN, COMPRESS_ONLY, SDK, SDK_256K, CODEC, NATIVE)
_PATIENCE = 300.0
"""Seconds for a run of any length that the server accepts."""


async def measure(
    case: str, turns: int, name: str, *, client: Client, store: S3, bucket: Bucket
) -> list[Record]:
    """Measure one run in its own process.

    Args:
        case: One of :data:`CASES`.
        turns: Number of turns.
        name: The workflow's ID; new.
        client: A client of the Temporal server; it decodes no payload.
        store: The S3 server of the objects.
        bucket: Their bucket.
    """
    async with process_of(Settings.of(client, case, bucket)) as process:
        await process.ask(_PATIENCE, do="live", workflow=f"{name}-warm-up", turns=1)
        before = store.sizes(bucket)
        await store.proxy.count_from_zero()
        live = await process.ask(_PATIENCE, do="live", workflow=name, turns=turns)
        requests = await store.proxy.requests()
        sizes = store.sizes(bucket)
        described = await client.get_workflow_handle(name).describe()
        history_size = described.raw_description.workflow_execution_info.history_size_bytes
        await store.proxy.count_from_zero()
        replay = await process.ask(_PATIENCE, do="replay", workflow=name)
        replay_requests = await store.proxy.requests()
        if not (await process.ask(_PATIENCE, do="equal", workflow=name, turns=turns))["equal"]:
            raise AssertionError(f"{name}: the result differs from the conversation")
    return [
        Record(case, "history_bytes", history_size, "bytes"),
        Record(case, "stored_bytes", sum(sizes) - sum(before), "bytes"),
        Record(case, "objects", len(sizes) - len(before), "objects"),
        *(Record(case, kind, requests[kind], "requests") for kind in ("puts", "gets", "heads", "lists")),
        Record(case, "requests", sum(requests.values()), "requests"),
        Record(case, "replay_requests", sum(replay_requests.values()), "requests"),
        Record(case, "wall_seconds", live["wall_seconds"], "s"),
        Record(case, "cpu_seconds", live["cpu_seconds"], "s"),
        Record(case, "replay_wall_seconds", replay["wall_seconds"], "s"),
        Record(case, "replay_cpu_seconds", replay["cpu_seconds"], "s"),
    ]


async def measure_all(turns: int, rounds: int) -> list[Record]:
    """Measure every way."""
    records: list[Record] = []
    async with dev_server() as server, s3() as store:
        client = await Client.connect(server.address, namespace=server.namespace)
        buckets = {case: store.new_bucket(case) for case in CASES}
        for number in range(rounds):
            for case, bucket in buckets.items():
                note(f"{case}, {turns} turns, round {number + 1} of {rounds}")
                name = f"{case}-{number}"
                records += await measure(case, turns, name, client=client, store=store, bucket=bucket)
    return medians(records)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=60, help="turns of the agent (60)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; medians are shown (3)")
    options = parser.parse_args()
    with on_real_servers():
        records = asyncio.run(measure_all(options.turns, options.rounds))
    show(records, options, targets.history(values(records)))


if __name__ == "__main__":
    main()
