"""How long does a scheme compute to write a series, beside plain zstd-3?"""

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
"""Bytes after which no further round is made."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Processor time of one thread for a whole series: for each payload the best of the rounds."""

    scheme: float
    zstd: float
    sketch: float
    """What of the chain's work is finding the best base."""


async def encode_seconds(series: Series, name: str) -> Seconds:
    """Write the series again and again, each time in a process that has nothing yet.

    Each goes through the whole series by itself, as a process does that has no other: else each would find what the
    other left in the processor's cache. On an event loop that has no threads; else it is not all of the work that is
    measured.
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
