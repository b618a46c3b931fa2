"""A process that opens one envelope, read from standard input, in a chain without keys; for test_bombs.

Prints what came of it, and by how many bytes its memory grew at the peak.
"""

import asyncio
import re
import sys
from pathlib import Path

from coatcheck import Chain, CoatcheckError, PayloadCache, Zstd
from tests.chains import SCOPE

CAP = 64 * 2**20
"""Bytes."""


def peak_memory() -> int:
    """Bytes; of this program alone, where ``ru_maxrss`` begins with that of the process which started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) * 1024


async def _open(data: bytes) -> str:
    chain = Chain(Zstd(), max_payload=CAP, cache=PayloadCache(0))
    await chain.open(await chain.encode(b"warm" * 1000, SCOPE), SCOPE)
    # Measured here: in returning a result, asyncio.run holds it twice.
    before = peak_memory()
    try:
        outcome = str(len(await chain.open(data, SCOPE)))
    except CoatcheckError as error:
        outcome = type(error).__name__
    return f"{outcome} {peak_memory() - before}"


def main() -> None:
    sys.stdout.write(asyncio.run(_open(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main()
