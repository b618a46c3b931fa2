"""Processor time of a scheme for writing a series, compared with plain zstd-3."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.loads.counted import Counted
from benchmarks.loads.schemes import SCHEMES
from benchmarks.loads.series import Series
from coatcheck import MemoryStore, Zstd
from coatcheck.storage.base_index import sketch

_ROUNDS = 5
_MAX_SIZE = 300e6
"""Bytes after which there are no further rounds."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Processor time of one thread for a whole series; the best round for each payload."""

    scheme: float
    zstd: float
    sketch: float
    """The search for the best base, as part of the chain's work."""


async def encode_seconds(series: Series, name: str) -> Seconds:
    """Write the series several times, each time from an empty state.

    Each contender processes the whole series by itself, as a process alone does: otherwise each would profit from the other's
    data in the processor's cache. Call it on an event loop without threads: otherwise some of the work is not measured.
    """
    best: dict[str, list[float]] = {}
    payloads = list(series.payloads())
    zstd = Zstd()
    rounds = min(_ROUNDS, 1 + int(_MAX_SIZE / sum(map(len, payloads))))
    for _ in range(rounds):
        taken = {
            "zstd": [_seconds(zstd.encode, payload) for payload in payloads],
            "scheme": await _scheme_seconds(name, payloads),
            "sketch": [_seconds(sketch, payload) for payload in payloads],
        }
        for part, seconds in taken.items():
            best[part] = [min(pair) for pair in zip(best.get(part, seconds), seconds, strict=True)]
    return Seconds(**{part: sum(seconds) for part, seconds in best.items()})


async def _scheme_seconds(name: str, payloads: Sequence[bytes]) -> list[float]:
    scheme = SCHEMES[name](Counted(MemoryStore()))
    taken = []
    for payload in payloads:
        begin = time.thread_time()
        await scheme.write(payload)
        taken.append(time.thread_time() - begin)
    await scheme.close()
    return taken


def _seconds(work: Callable[[bytes], object], payload: bytes) -> float:
    begin = time.thread_time()
    work(payload)
    return time.thread_time() - begin
