"""Size of an agent's run in DBOS's system database, plain and with coatcheck.

``python -m benchmarks.history --engine dbos [--turns N] [--json [PATH]]``. The demo's agent is a workflow that gets its whole
conversation from a step of each turn, on SQLite and on a real PostgreSQL server. Each run has its own process and database. The
database's bytes are what the run added to its files (SQLite, with its write-ahead log emptied), or to its size
(PostgreSQL); objects are in a directory. Every result is compared with the expected conversation.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from dbos import DBOS, SetWorkflowID

from benchmarks.charting.ways import PLAIN
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, note, values
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.cli.demo.conversation import Message, conversation, turn
from coatcheck.integrations.dbos import ClaimCheckSerializer
from tests.engines.postgres import serving

CASES = (PLAIN, "coatcheck")
_SEED = 0
_PATIENCE = 300.0


@DBOS.step()
def say(so_far: list[Message], number: int) -> list[Message]:
    """One turn: the conversation so far, and what is said next."""
    return [*so_far, *turn(_SEED, number)]


@DBOS.workflow()
def live(turns: int) -> list[Message]:
    """The agent."""
    so_far: list[Message] = []
    for number in range(1, turns + 1):
        so_far = say(so_far, number)
    return so_far


def run(case: str, url: str, folder: Path, turns: int) -> dict[str, float]:
    """Run the agent in this process, and return the figures."""
    chain = Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore(folder)))
    serializer = None if case == PLAIN else ClaimCheckSerializer(chain)
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "serializer": serializer,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    with SetWorkflowID("warm-up"):
        live(1)
    before, stored_before = _size_of(url), _stored(folder)
    wall, cpu = time.perf_counter(), time.process_time()
    with SetWorkflowID("agent"):
        result = live(turns)
    took = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    equal: bool = result == DBOS.retrieve_workflow("agent").get_result() == conversation(_SEED, turns)
    DBOS.destroy()
    if not equal:
        raise AssertionError(f"{case}: the result differs from the conversation")
    stored = _stored(folder)
    return {
        "database_bytes": _size_of(url) - before,
        "stored_bytes": sum(stored) - sum(stored_before),
        "objects": len(stored) - len(stored_before),
        **took,
    }


def measure(case: str, database: str, url: str, folder: Path, turns: int) -> list[Record]:
    """Measure one run, in a process of its own."""
    note(f"{database} {case}, {turns} turns")
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--run", case, url, str(folder)]
    done = subprocess.run(  # noqa: S603 - this module
        [*command, "--turns", str(turns)],
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_PATIENCE,
    )
    units = {"objects": "objects", "wall_seconds": "s", "cpu_seconds": "s"}
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return [
        Record(f"{database} {case}", name, value, units.get(name, "bytes")) for name, value in found.items()
    ]


def measure_all(turns: int, cases: Sequence[str] = CASES) -> list[Record]:
    """Measure all ways on both databases."""
    records: list[Record] = []
    with TemporaryDirectory() as name, serving() as server:
        for case in cases:
            folder = Path(name, case)
            folder.mkdir()
            url = f"sqlite:///{folder}/system.db"
            records += measure(case, "SQLite", url, folder / "sqlite", turns)
            records += measure(case, "PostgreSQL", server.dsn(f"dbos_{case}"), folder / "postgres", turns)
    return records


def _size_of(url: str) -> int:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return sum(Path(file).stat().st_size for file in (path, f"{path}-wal") if Path(file).exists())
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def _stored(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=60, help="turns of the agent (60)")
    parser.add_argument("--run", nargs=3, metavar=("CASE", "URL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        case, url, folder = options.run
        print(json.dumps(run(case, url, Path(folder), options.turns)))
        return
    with on_real_servers():
        records = measure_all(options.turns)
    show(records, options, targets.dbos(values(records)))


if __name__ == "__main__":
    main()
