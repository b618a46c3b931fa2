"""Peak memory of the chain with large states: the part of ``benchmarks.storage`` that needs its own process.

``python -m benchmarks.storage.peak_memory FOLDER CACHE`` saves the files of a folder in the order of their names, restores the
last one as a second process would, and prints the growth of the process at its peak, in bytes. Its objects are stored in
files, so that they do not count.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.loads.counted import Counted
from benchmarks.loads.schemes import Coatcheck
from coatcheck import FileStore

_STATUS = Path("/proc/self/status")
_SECONDS = 600.0
_GIVEN_BACK = 128 * 1024
"""Bytes from which a block is returned to the system: glibc's initial limit, which it would raise by itself."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of a process at its peak, in bytes, compared with an idle one."""

    used: int
    """With an allocator that returns large blocks to the system when they are freed."""
    resident: int
    """With glibc's default, which keeps freed blocks that later ones may not fit into."""


def growth_of(payloads: Iterable[bytes], cache: int) -> Growth | None:
    """Save ``payloads``, one after the other, and restore the last.

    Args:
        payloads: The states to save.
        cache: The chain's bound, in bytes.

    Returns:
        ``None`` where the system does not tell: the figures are read from ``/proc``.
    """
    if not _STATUS.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        for number, payload in enumerate(payloads):
            Path(folder, f"{number:04}").write_bytes(payload)
        return Growth(
            used=_run(folder, cache, {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(_GIVEN_BACK)}),
            resident=_run(folder, cache, dict(os.environ)),
        )


def _run(folder: str, cache: int, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "benchmarks.storage.peak_memory", folder, str(cache)]
    done = subprocess.run(  # noqa: S603 - ourselves
        command, env=environment, capture_output=True, check=True, timeout=_SECONDS
    )
    return int(done.stdout)


def _resident(field: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


async def _save_and_restore(paths: list[Path], cache: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        writer, reader = (Coatcheck(Counted(FileStore(folder)), cache) for _ in range(2))
        # Threads, tables and modules that any payload needs are there before the first that counts.
        for size in (200_000, 250_000):
            await writer.write(Random(0).randbytes(size))
        writer.chain.cache.clear()
        before = _resident("VmRSS")
        journal = b""
        for path in paths:
            journal = await writer.write(path.read_bytes())
        await writer.close()
        writer.chain.cache.clear()
        restored = await reader.read(journal)
        if restored != paths[-1].read_bytes():
            raise AssertionError("the restored state differs from the saved one")
        await reader.close()
        return _resident("VmHWM") - before


if __name__ == "__main__":
    print(asyncio.run(_save_and_restore(sorted(Path(sys.argv[1]).iterdir()), int(sys.argv[2]))))
