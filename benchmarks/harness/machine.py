"""The machine, its software, and the noise of other work on it."""

import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from coatcheck.cli.demo.server import find_binary
from coatcheck.codecs import zstd
from tests.engines import restate

_PACKAGES = (
    *("coatcheck", "temporalio", "inngest", "inngest-encryption", "restate-sdk"),
    *("boto3", "aiohttp", "google-cloud-storage", "psycopg", "cryptography", "blake3", "pyfastcdc"),
)
_AIOBOTO3 = Path(__file__).parents[2] / ".cache" / "sdk-s3driver"
_PROBES = 5
_WORK = 150_000


def facts() -> Iterator[tuple[str, str]]:
    """Yield the facts on which the figures depend, by name."""
    yield (
        "processor",
        f"{_line('/proc/cpuinfo', 'model name') or platform.processor()}, {os.cpu_count()} cores",
    )
    yield "memory", _line("/proc/meminfo", "MemTotal")
    yield "system", f"{platform.system()} {platform.release()}"
    yield "Python", platform.python_version()
    yield "zstd", ".".join(map(str, zstd.zstd.zstd_version_info))
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
    for found in distributions(path=[str(_AIOBOTO3)]):
        if found.name == "aioboto3":
            yield "aioboto3", found.version
    for name, program in (
        ("Temporal server", [find_binary(), "--version"]),
        ("SeaweedFS", [_beside_the_interpreter("weed"), "version"]),
        ("Restate server", [restate.find_program(), "--version"]),
    ):
        if program[0]:
            yield name, _said([str(part) for part in program])


def _stolen() -> tuple[int, int]:
    """Return the ticks that the hypervisor gave to others, and all ticks (proc_stat(5))."""
    try:
        ticks = [int(tick) for tick in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0, 0
    return ticks[7], sum(ticks)


@dataclass(slots=True)
class Noise:
    """Timings of the same fixed work, which takes longer when others use the machine."""

    seconds: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    """Running and waiting processes, averaged over a minute."""
    _first: tuple[int, int] = field(default_factory=_stolen)

    def measure(self) -> None:
        """Time the work a few times."""
        for _ in range(_PROBES):
            start = time.perf_counter()
            hashlib.pbkdf2_hmac("sha256", b"the same", b"every time", _WORK)
            self.seconds.append(time.perf_counter() - start)
        self.load.append(os.getloadavg()[0])

    def figures(self) -> Iterator[tuple[str, float, str]]:
        """Yield name, value and unit of each figure."""
        yield "fixed_work_min", min(self.seconds), "s"
        yield "fixed_work_median", statistics.median(self.seconds), "s"
        yield "fixed_work_max", max(self.seconds), "s"
        yield "load_average_min", min(self.load), "processes"
        yield "load_average_max", max(self.load), "processes"
        stolen, all_ticks = (now - then for now, then in zip(_stolen(), self._first, strict=True))
        yield "steal", 100 * stolen / max(1, all_ticks), "% of processor time"


def _beside_the_interpreter(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def _line(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _said(program: list[str]) -> str:
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - engines
    return next(iter((done.stdout or done.stderr).splitlines()), "")
