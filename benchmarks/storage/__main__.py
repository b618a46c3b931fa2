"""Cost of storing an agent's states, step by step.

``python -m benchmarks.storage [--json PATH] [--plot PATH] [--quick]``. Every series of payloads is stored in four ways:
``whole``, ``whole-zstd``, ``chunked`` (content-defined chunks, one object each) and ``coatcheck`` (compressed, deltas,
encrypted). Bytes and requests are counted, round trips by a virtual clock. Speeds are by processor time of one thread, the
best of several rounds, including all computation of the scheme; plain zstd-3 takes turns with it, payload by payload, so
that ``encode_ratio`` and ``sketch_share`` are valid on a busy machine too.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, values
from benchmarks.loads import series as makers
from benchmarks.loads import virtual_time
from benchmarks.loads.counted import Counted
from benchmarks.loads.schemes import SCHEMES, SCOPE, Coatcheck, Scheme
from benchmarks.loads.series import Series
from benchmarks.storage.peak_memory import growth_of
from benchmarks.storage.speed import encode_seconds
from coatcheck import MemoryStore

_DELAY = 0.05
"""Seconds of a request while round trips are counted."""
_READING = 0.5
"""Seconds for which the last payload is read repeatedly: a shared machine is slow at times."""
_LEAST_READS = 25


def plan(*, quick: bool) -> list[Series]:
    """Return the series to store; ``quick`` leaves out most of the checkpoints."""
    saved = 8 if quick else 40
    return [
        Series("60 turns", lambda: makers.turns(60)),
        Series("120 turns", lambda: makers.turns(120)),
        Series(f"{saved} checkpoints", lambda: makers.checkpoints(saved, 4_975_000)),
        Series("images", lambda: makers.images(30)),
        Series("embeddings", lambda: makers.embeddings(40)),
        Series("unrelated", lambda: makers.unrelated(40)),
        Series("shuffled keys", lambda: makers.shuffled(40)),
        Series("trimmed", lambda: makers.trimmed(60, keep=15)),
        Series("summarised", lambda: makers.summarised(60, keep=10)),
        Series("two agents", lambda: makers.alternating(80)),
    ]


def measure(series: Series, scheme: str) -> list[Record]:
    """Measure one series stored with one scheme."""
    return virtual_time.run(_measure(series, scheme))


async def _measure(series: Series, name: str) -> list[Record]:
    store = Counted(MemoryStore())
    scheme = SCHEMES[name](store)
    journal, last, raw = [], b"", 0
    for last in series.payloads():
        raw += len(last)
        journal.append(await scheme.write(last))
    stored, written = sum(await store.sizes()), store.requests["puts"]
    speed = await encode_seconds(series, name)
    records = [
        Record("", "raw", raw / 1e6, "MB"),
        Record("", "stored", stored / 1e6, "MB"),
        Record("", "journal", sum(map(len, journal)) / 1e6, "MB"),
        Record("", "gain", raw / stored, "times"),
        Record("", "puts", written, "requests"),
        Record("", "encode", raw / 1e6 / speed.scheme, "MB/s"),
        Record("", "encode_ratio", speed.zstd / speed.scheme, "times zstd-3"),
    ]
    if isinstance(scheme, Coatcheck):
        records.append(Record("", "sketch_share", speed.sketch / speed.scheme, "of encode"))
        records.append(Record("", "warm_replay", await _replay(scheme, journal), "requests"))
    await scheme.close()
    records += [
        Record("", "decode_last", await _decode_speed(name, store, journal[-1], last) / 1e6, "MB/s"),
        *await _last(name, store, journal[-1]),
    ]
    if isinstance(scheme, Coatcheck):
        records += await _cold_replays(series, store, journal)
    return [Record(f"{series.name} {name}", row.name, row.value, row.unit) for row in records]


async def _decode_speed(name: str, store: Counted, journal: bytes, payload: bytes) -> float:
    """Return bytes a second, each time with an empty cache."""
    taken: list[float] = []
    end = time.perf_counter() + _READING
    while len(taken) < _LEAST_READS or time.perf_counter() < end:
        scheme = SCHEMES[name](store)
        begin = time.thread_time()
        found = await scheme.read(journal)
        taken.append(time.thread_time() - begin)
        if found != payload:
            raise AssertionError("the payload read differs from the one written")
        await scheme.close()
    return len(payload) / min(taken)


async def _last(name: str, store: Counted, journal: bytes) -> list[Record]:
    """Return requests and round trips until a new process has the last payload."""
    scheme = SCHEMES[name](store)
    with _at_a_distance(store) as trips:
        await scheme.read(journal)
        taken = trips()
        # Later prefetches count too.
        await asyncio.sleep(_DELAY * 20)
    await scheme.close()
    return [
        Record("", "last_gets", store.requests["gets"], "requests"),
        Record("", "last_lists", store.requests["lists"], "requests"),
        Record("", "last_round_trips", taken, "round trips"),
    ]


async def _replay(scheme: Scheme, journal: list[bytes]) -> float:
    scheme.store.forget_counts()
    for item in journal:
        await scheme.read(item)
    return scheme.store.requests.total()


async def _cold_replays(series: Series, store: Counted, journal: list[bytes]) -> list[Record]:
    """Measure a replay in a new process: results are decoded, and commands encoded again."""
    records = []
    for kind in ("decoded", "encoded"):
        scheme = Coatcheck(store)
        with _at_a_distance(store) as trips:
            if kind == "decoded":
                for item in journal:
                    await scheme.read(item)
            else:
                await scheme.chain.replaying(SCOPE)
                for payload in series.payloads():
                    await scheme.write(payload)
            taken = trips()
        records += [
            Record("", f"cold_{kind}_{name}", store.requests[name], "requests")
            for name in ("puts", "gets", "lists")
        ]
        records.append(Record("", f"cold_{kind}_round_trips", taken, "round trips"))
        await scheme.close()
    return records


@contextmanager
def _at_a_distance(store: Counted) -> Iterator[Callable[[], float]]:
    """Delay requests and count from zero; yield a function that returns the round trips so far."""
    store.forget_counts()
    store.delay = _DELAY
    loop = asyncio.get_running_loop()
    begin = loop.time()
    try:
        yield lambda: round((loop.time() - begin) / _DELAY, 3)
    finally:
        store.delay = 0.0


def peaks(*, quick: bool) -> list[Record]:
    """Measure the growth of a process that saves and restores, and its bound."""
    records = []
    for size, count in (
        (600_000, 60),
        (5_000_000, 10 if quick else 40),
        *([] if quick else [(50_000_000, 4)]),
    ):
        cache = max(32 * 2**20, 4 * size)
        grown = growth_of(makers.checkpoints(count, size), cache)
        if grown is not None:
            case = f"{count} states of {size / 1e6:g} MB"
            records.append(Record(case, "peak_memory", grown.used / 1e6, "MB"))
            records.append(Record(case, "peak_memory_bound", (3 * size + cache) / 1e6, "MB"))
            records.append(Record(case, "peak_resident", grown.resident / 1e6, "MB"))
    return records


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__, chart="stored")
    parser.add_argument("--quick", action="store_true", help="fewer checkpoints")
    options = parser.parse_args()
    records = [
        record for series in plan(quick=options.quick) for name in SCHEMES for record in measure(series, name)
    ]
    records += peaks(quick=options.quick)
    show(records, options, targets.storage(values(records)))


if __name__ == "__main__":
    main()
