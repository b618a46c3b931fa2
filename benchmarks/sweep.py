"""Speed and memory of a sweep.

``python -m benchmarks.sweep [--objects N] [--json [PATH]]``. A folder has N objects in N / 100 runs, of which the engine knows
half. Four sweeps run, each in its own process: a dry run, one that marks, one that deletes, and one with nothing to do.
Between them the files' times are changed by more than a grace.
"""

import argparse
import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, note
from coatcheck import Encrypt, FileStore, Key, Keyring, Scope
from coatcheck.retention.live import LiveRuns
from coatcheck.retention.rules import RetentionRules
from coatcheck.retention.sweep import Sweep
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import SWEEP_MARK, SweepMark, opened_mark, seal_mark

TENANT = "default"
ENGINE = "temporal"
EACH = 100
"""Objects in a run."""
GRACE = timedelta(days=7)
LONG = timedelta(days=8)
_BODY = bytes(64)


class HalfOfThem(LiveRuns):
    """An engine that knows every other run."""

    engine = ENGINE
    tenants = (TENANT,)

    def __init__(self, runs: int) -> None:
        self._runs = runs

    async def scopes(self) -> AsyncIterator[Scope]:
        """See :meth:`LiveRuns.scopes`."""
        for number in range(0, self._runs, 2):
            yield scope_of(number)


def scope_of(number: int) -> Scope:
    """Return the scope of one of the runs."""
    return Scope(TENANT, f"run-{number}", engine=ENGINE)


def addresses() -> ScopePrefixes:
    """Return the prefixes for a keyring with one key."""
    return ScopePrefixes([Encrypt(Keyring(Key(bytes(32))))])


async def fill(folder: Path, objects: int) -> None:
    """Write objects as a store does, but not durably."""
    of, store = addresses(), FileStore(folder)
    # Older than the later mark by more than a grace.
    then = time.time() - 3 * LONG.total_seconds()
    for run in range(objects // EACH):
        (prefix,) = await of.of(scope_of(run))
        for number in range(EACH):
            name = hashlib.sha256(number.to_bytes(4, "big")).hexdigest()
            path = store._path(prefix + name)  # noqa: SLF001 - to make each durable would take hours
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_BODY)
            os.utime(path, (then, then))


async def age(folder: Path) -> None:
    """Age all marks of sweeps by more than a grace."""
    of = addresses()
    await of.of_tenant(TENANT)
    then = time.time() - LONG.total_seconds()
    for path in folder.rglob(SWEEP_MARK):  # noqa: ASYNC240 - nothing else goes on
        scope = await of.sealer_at("/".join((*path.parts[-4:-2], "")))
        mark = opened_mark(scope, SWEEP_MARK, path.read_bytes())
        made = datetime.fromtimestamp(then, UTC)
        path.write_bytes(seal_mark(scope, SWEEP_MARK, SweepMark(mark.id, made, made - GRACE)))
        os.utime(path, (then, then))


async def sweep(folder: Path, objects: int, *, look: bool) -> dict[str, float]:
    """Run one sweep and return its figures."""
    work = Sweep(
        FileStore(folder),
        addresses(),
        HalfOfThem(objects // EACH),
        engine=ENGINE,
        tenants=(TENANT,),
        rules=RetentionRules(grace=GRACE, idle=GRACE),
        max_share=1,
    )
    begun, cpu = time.perf_counter(), time.process_time()
    report = await (work.look() if look else work.run())
    return {
        "objects": report.objects,
        "deleted": report.deleted,
        "wall_seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure(objects: int) -> list[Record]:
    """Measure all four sweeps."""
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        note(f"writing {objects:,} objects")
        asyncio.run(fill(folder, objects))
        for case in ("look", "mark", "delete", "nothing to do"):
            asyncio.run(age(folder))
            note(case)
            command = [sys.executable, "-m", "benchmarks.sweep", "--sweep", name, "--objects", str(objects)]
            done = subprocess.run(  # noqa: S603 - this module
                [*command, *(["--look"] if case == "look" else [])], check=True, stdout=subprocess.PIPE
            )
            found: dict[str, float] = json.loads(done.stdout)
            for figure, value in found.items():
                unit = {"wall_seconds": "s", "cpu_seconds": "s", "peak_bytes": "bytes"}.get(figure, "count")
                records.append(Record(case, figure, value, unit))
            handled = found["deleted"] or found["objects"]
            records.append(Record(case, "rate", handled / found["wall_seconds"], "objects/s"))
    return records


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--objects", type=int, default=100_000, metavar="N")
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--look", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sweep:
        print(json.dumps(asyncio.run(sweep(options.sweep, options.objects, look=options.look))))
        return
    show(measure(options.objects), options)


if __name__ == "__main__":
    main()
