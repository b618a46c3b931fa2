"""Size and cost of an agent's thread in LangGraph: plain, with LangGraph's own means, and with coatcheck.

``python -m benchmarks.langgraph [--turns N ...] [--databases sqlite postgres] [--rounds N] [--json [PATH]]``. The demo's agent
holds its conversation, four checkpoints a turn, in a file of SQLite and on a real PostgreSQL server. Ways:

- ``plain``: the saver as it is.
- ``delta-channel``: the messages in LangGraph's ``DeltaChannel`` with its defaults, which needs a change of the graph.
- ``encrypted-serializer``: LangGraph's ``EncryptedSerializer`` with AES-GCM.
- ``coatcheck``: ``ClaimCheckSaver`` with a chain's defaults, compressed, encrypted, and offloaded to a folder.
- ``coatcheck-delta-channel``: both.

Each run has its own process, and so has each resumption: from the opening of the database to the latest state, which is
compared with the expected conversation. ``kept_bytes`` are those of the database, indexes included, and of the store.
``load_..._bytes`` are those that the latest state is loaded from: the columns of all rows that are read, and the objects.
Seconds of a turn are means without the first turn. The ways take turns; seconds are the medians of the rounds, all other
figures those of the last.
"""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, medians, note, values
from benchmarks.langgraph.savers import WAYS, size_of
from tests.engines import postgres

DATABASES = ("sqlite", "postgres")
_UNITS = {"seconds": "s", "bytes": "bytes"}
_RESUMPTIONS = 3


def measure(
    way: str, database: str, folder: Path, turns: int, resumptions: int
) -> Iterator[tuple[str, float, str]]:
    """Measure one thread; yield the name, the value and the unit of each figure.

    Args:
        way: One of :data:`benchmarks.langgraph.savers.WAYS`.
        database: A file of SQLite that is not there yet, or the URL of an empty database of PostgreSQL.
        folder: An empty folder for the store.
        turns: Turns of the agent.
        resumptions: Processes that resume the thread.
    """
    figures = list(_told("live", way, database, folder, turns).items())
    stored = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    size = size_of(database)
    for _ in range(resumptions):
        figures += _told("resume", way, database, folder, turns).items()
    yield "turns", turns, "turns"
    yield "database_bytes", size, "bytes"
    yield "store_bytes", sum(stored), "bytes"
    yield "kept_bytes", size + sum(stored), "bytes"
    yield "objects", len(stored), "objects"
    for name, value in figures:
        yield name, value, _UNITS[name.rpartition("_")[2]]


def measure_all(
    turns: Sequence[int],
    *,
    databases: Sequence[str] = DATABASES,
    ways: Sequence[str] = WAYS,
    rounds: int = 1,
    resumptions: int = _RESUMPTIONS,
) -> list[Record]:
    """Measure every way on every database."""
    records: list[Record] = []
    with ExitStack() as stack:
        server = stack.enter_context(postgres.serving()) if "postgres" in databases else None
        for count in turns:
            for kind in databases:
                for number in range(rounds):
                    for way in ways:
                        case = f"{count} turns, {kind} {way}"
                        note(f"{case}, round {number + 1} of {rounds}")
                        with TemporaryDirectory() as name:
                            folder = Path(name, "store")
                            folder.mkdir()
                            database = (
                                _new_database(server)
                                if server and kind == "postgres"
                                else f"{name}/checkpoints.db"
                            )
                            records += [
                                Record(case, *figure)
                                for figure in measure(way, database, folder, count, resumptions)
                            ]
                            if server and kind == "postgres":
                                _drop(server, database)
    return medians(records)


def _told(does: str, *given: object) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.langgraph.process", does, *map(str, given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - this package
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _new_database(server: postgres.PostgresServer) -> str:
    name = f"benchmark_{secrets.token_hex(6)}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.dsn(name)


def _drop(server: postgres.PostgresServer, database: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database.rpartition('/')[2]}".encode())


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, nargs="+", default=[60, 200], help="turns of the agent (60 200)")
    parser.add_argument(
        "--databases", nargs="+", choices=DATABASES, default=DATABASES, help="databases (both)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds; medians are shown (1)")
    options = parser.parse_args()
    if min(options.turns) < 2:
        parser.error("--turns must be at least 2")
    with on_real_servers():
        records = measure_all(options.turns, databases=options.databases, rounds=options.rounds)
    show(records, options, targets.langgraph(values(records)))


if __name__ == "__main__":
    main()
