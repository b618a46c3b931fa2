"""Size and cost of an agent's run in Inngest: plain, with the official remote-state middleware, and with coatcheck.

``python -m benchmarks.history --engine inngest [--steps N] [--size BYTES ...] [--json [PATH]]``. An agent on FastAPI whose every step
returns a part of the demo's conversation, against an executor with Inngest's protocol (``tests/engines/inngest_executor.py``,
which counts the bytes in both directions) and a real S3 server (SeaweedFS) behind a counting proxy. Ways:

- ``plain``: all results are in the run state.
- ``inngest-encryption``: the official package of that name: encrypted, all results are in the run state.
- ``remote-state``: ``inngest.experimental.remote_state_middleware`` with its S3 driver: each result is an object.
- ``coatcheck``: compressed, deltas, encrypted, offloaded.

A request includes the data that the SDK fetches for it from the API when the results do not fit into a request. Every
result is compared with the step's return value; a run that exceeds a limit of Inngest fails, and its figures end there.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import boto3
import inngest
from inngest.experimental.remote_state_middleware import RemoteStateMiddleware, S3Driver
from inngest_encryption import EncryptionMiddleware

from benchmarks.charting.ways import PLAIN
from benchmarks.engines.s3 import REGION, S3, Bucket, s3
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, note, values
from benchmarks.loads.data import payloads
from coatcheck import Chain, Encrypt, Key, Keyring, Offload, PayloadCache, S3Store, Zstd
from coatcheck.integrations.inngest import claim_check
from tests.engines.inngest import InngestServer, serving_asgi
from tests.engines.inngest_executor import Executor, Run
from tests.integrations.inngest.serving import App, new_app, served

OFFICIAL_ENCRYPTION, OFFICIAL_STATE, OURS = "inngest-encryption", "remote-state", "coatcheck"
SIZES = (100_000, 1_150_000)
"""Bytes of a step's result. 30 of the second size exceed the 32 MiB that a run may have."""
STEPS = 30
_PATIENCE = 400.0
"""Seconds for a run."""


def middleware(case: str, bucket: Bucket) -> list[Callable[[Any, Any], Any]]:
    """Return the arguments for a client of this case, with an empty cache."""
    session = boto3.Session(bucket.access_key, bucket.secret_key, region_name=REGION)
    if case == OFFICIAL_ENCRYPTION:
        return [EncryptionMiddleware.factory("a secret of this benchmark")]
    if case == OFFICIAL_STATE:
        client = session.client("s3", endpoint_url=bucket.endpoint)
        return [RemoteStateMiddleware.factory(S3Driver(bucket=bucket.name, client=client))]
    if case == OURS:
        store = S3Store(bucket.name, session=session, endpoint_url=bucket.endpoint)
        cache = PayloadCache(256 * 2**20)
        return [claim_check(Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(store), cache=cache))]
    return []


def agent(app: App, results: Sequence[str]) -> inngest.Function[Any]:
    """Return each of ``results`` from its own step, and check that all of them are returned unchanged."""

    @app.client.create_function(fn_id="agent", trigger=app.on("go"))
    async def agent(ctx: inngest.Context) -> int:
        for number, result in enumerate(results):

            async def think(result: str = result) -> str:
                return result

            if await ctx.step.run(f"think-{number}", think) != result:
                raise inngest.NonRetriableError("the engine returned another result")
        return len(results)

    return agent


async def measure(case: str, steps: int, size: int, store: S3, bucket: Bucket) -> list[Record]:
    """Measure one run, in its own server."""
    results = [part.decode() for part in payloads(size, steps)]
    executor = Executor()
    with serving_asgi(executor.app()) as port:
        app = new_app(InngestServer(port, executor), *middleware(case, bucket))
        async with served(app, [agent(app, results)]):
            await store.proxy.count_from_zero()
            start = time.perf_counter()
            shown = await _ended(app, await app.send("go"))
            seconds = time.perf_counter() - start
            requests = await store.proxy.requests()
    where = f"{steps} steps of {size:,} bytes {case}"
    return [
        *_of(executor.runs[shown["run_id"]], where),
        *(Record(where, kind, requests[kind], "requests") for kind in ("puts", "gets")),
        Record(where, "stored_bytes", sum(store.sizes(bucket)), "bytes"),
        Record(where, "wall_seconds", seconds, "s"),
    ]


async def _ended(app: App, event: str) -> dict[str, Any]:
    """Return the run that an event triggers; sealing the run state takes time."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            [run] = await app.server.runs_of(event)
        except TimeoutError:
            if time.monotonic() > until:
                raise
        else:
            return run


def _of(run: Run, where: str) -> list[Record]:
    return [
        Record(where, "completed", int(run.status == "Completed"), "runs"),
        Record(where, "steps", len(run.steps), "steps"),
        Record(where, "run_state", run.state, "bytes"),
        Record(where, "last_request", run.requests[-1], "bytes"),
        Record(where, "all_requests", sum(run.requests), "bytes"),
        Record(where, "all_answers", sum(run.answers), "bytes"),
    ]


async def measure_all(steps: int, sizes: Sequence[int]) -> list[Record]:
    """Measure every way, for every size."""
    records: list[Record] = []
    async with s3() as store:
        for size in sizes:
            for case in (PLAIN, OFFICIAL_ENCRYPTION, OFFICIAL_STATE, OURS):
                note(f"{steps} steps of {size:,} bytes, {case}")
                bucket = store.new_bucket(f"{case}-{size}")
                records += await measure(case, steps, size, store, bucket)
    return records


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N")
    parser.add_argument("--size", type=int, nargs="+", default=list(SIZES), metavar="BYTES")
    options = parser.parse_args()
    records = asyncio.run(measure_all(options.steps, options.size))
    show(records, options, targets.inngest(values(records)))


if __name__ == "__main__":
    main()
