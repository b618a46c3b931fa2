"""How long does a scheme compute to write a series, beside plain zstd-3?"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.counted import Counted
from benchmarks.schemes import SCHEMES
from benchmarks.series import Series
from coatcheck import MemoryStore, Zstd
from coatcheck.storage.lineage import sketch

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

    On an event loop that has no threads; else it is not all of the work that is measured.
    """
    best: dict[str, list[float]] = {}
    size, rounds = 0, 0
    while rounds < _ROUNDS and size < _MAX_SIZE:
        scheme = SCHEMES[name](Counted(MemoryStore()))
        zstd = Zstd()
        taken: dict[str, list[float]] = {"scheme": [], "zstd": [], "sketch": []}
        for number, payload in enumerate(series.payloads()):
            size += len(payload)
            # Whoever comes first finds the payload in the processor's cache, or does not: turn about.
            if (number + rounds) % 2:
                taken["zstd"].append(_seconds(zstd.encode, payload))
            begin = time.thread_time()
            await scheme.write(payload)
            taken["scheme"].append(time.thread_time() - begin)
            if not (number + rounds) % 2:
                taken["zstd"].append(_seconds(zstd.encode, payload))
            taken["sketch"].append(_seconds(sketch, payload))
        await scheme.close()
        rounds += 1
        for part, seconds in taken.items():
            best[part] = [min(pair) for pair in zip(best.get(part, seconds), seconds, strict=True)]
    return Seconds(**{part: sum(seconds) for part, seconds in best.items()})


def _seconds(work: Callable[[bytes], object], payload: bytes) -> float:
    begin = time.thread_time()
    work(payload)
    return time.thread_time() - begin
