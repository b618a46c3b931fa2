"""Longest time for which the chain blocks the event loop.

``python -m benchmarks.loop_stall [--rounds N] [--json [PATH]]``. A ticker records its delay every millisecond, while payloads
are encoded and decoded by the chain, by its Temporal codec and by ``compress-only``, the codec that teams write first,
which calls zlib on the loop. The longest delay is the stall. ``idle`` is the same ticker without work: the noise of the
machine.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, PayloadCodec

from benchmarks.charting.ways import COMPRESS_ONLY
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, values
from benchmarks.history.cases import CompressOnly
from benchmarks.loads.data import payloads
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, PayloadCache, Scope, Zstd
from coatcheck.integrations.temporal import wrap_data_converter
from coatcheck.runtime.concurrency import all_at_once

SCOPE = Scope("default", "workflow")


async def stall_of(work: Callable[[], Awaitable[object]]) -> float:
    """Return the longest time in seconds for which ``work`` blocked the loop."""
    longest = 0.0
    done = asyncio.Event()

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done.is_set():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest = max(longest, now - last - 0.001)
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.005)
    await work()
    done.set()
    await ticker
    return longest


async def measure(folder: str, rounds: int) -> list[Record]:
    """Measure every case: the median and the worst of the rounds."""
    records = []
    # Each round needs payloads that no earlier round has stored.
    large, small = payloads(10_000_000, rounds), payloads(40_000, 64 * rounds)
    # Without a cache: payloads in memory are not decoded again.
    chain = Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore(folder)), cache=PayloadCache(0))
    codec = wrap_data_converter(DataConverter.default, chain).payload_codec
    assert codec is not None
    journal = b""
    encoded: list[Payload] = []

    async def idle(_: int) -> None:
        await asyncio.sleep(0.2)

    async def encode(n: int) -> None:
        nonlocal journal
        journal = await chain.encode(large[n], SCOPE)

    async def decode(_: int) -> None:
        await chain.decode(journal, SCOPE)

    def through(codec: PayloadCodec) -> Iterator[tuple[str, Callable[[int], Awaitable[None]]]]:
        async def temporal_encode(n: int) -> None:
            nonlocal encoded
            encoded = await codec.encode([_payload(large[n])])

        async def temporal_decode(_: int) -> None:
            await codec.decode(encoded)

        async def temporal_batch(n: int) -> None:
            await codec.encode([_payload(data) for data in small[64 * n : 64 * n + 64]])

        yield "Temporal codec, encode 10 MB", temporal_encode
        yield "Temporal codec, decode 10 MB", temporal_decode
        yield "Temporal codec, encode 64 x 40 KB", temporal_batch

    async def batch(n: int) -> None:
        await all_at_once(chain.encode(payload, SCOPE) for payload in small[64 * n : 64 * n + 64])

    for case, work in (
        ("idle", idle),
        ("encode 10 MB coatcheck", encode),
        ("decode 10 MB coatcheck", decode),
        ("encode 64 x 40 KB coatcheck", batch),
        *((f"{what} coatcheck", work) for what, work in through(codec)),
        *((f"{what} {COMPRESS_ONLY}", work) for what, work in through(CompressOnly())),
    ):
        stalls = [await stall_of(lambda n=n, work=work: work(n)) for n in range(rounds)]  # type: ignore[misc]
        records.append(Record(case, "stall_median", statistics.median(stalls) * 1e3, "ms"))
        records.append(Record(case, "stall_worst", max(stalls) * 1e3, "ms"))
    return records


def _payload(data: bytes) -> Payload:
    return Payload(metadata={"encoding": b"binary/plain"}, data=data)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds (15)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = asyncio.run(measure(folder, options.rounds))
    show(records, options, targets.loop_stall(values(records)))


if __name__ == "__main__":
    main()
