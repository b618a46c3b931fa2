"""``coatcheck doctor langgraph``: what it says of databases that savers wrote, and that a saver with a chain saves as much."""

import asyncio
import hashlib
import json
import secrets
import sqlite3
import sys
import types
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from typer.testing import CliRunner

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, Zstd
from coatcheck.cli.app import app
from coatcheck.cli.doctor.langgraph.page import page
from coatcheck.doctor.threads import DatabaseDiagnosis
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.chains import KEY
from tests.engines.postgres import PostgresServer
from tests.integrations.langgraph.graphs import agent, loop, said
from tests.integrations.langgraph.savers import new_database
from tests.integrations.langgraph.test_reading import Cipher

TURNS = 8
Figures = dict[tuple[str, str], Any]


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COATCHECK_KEYS", raising=False)


def run(*arguments: str | Path) -> Any:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["doctor", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def figures(url: str, *options: str) -> Figures:
    done = run("langgraph", url, "--json", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    return {(record["case"], record["name"]): record["value"] for record in json.loads(done.stdout)}


def refusal(url: str, *options: str | Path) -> str:
    done = run("langgraph", url, *options)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("coatcheck doctor langgraph: ")
    return str(done.stderr)


def hold(saver: BaseCheckpointSaver[Any], thread: str = "long", turns: int = TURNS) -> None:
    graph = loop().compile(checkpointer=saver)
    for n in range(turns):
        graph.invoke(
            {"messages": [said(("in", n))]}, {"configurable": {"thread_id": thread}}, durability="sync"
        )


@contextmanager
def sqlite_saver(path: Path) -> Iterator[SqliteSaver]:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long thread, and one with a subgraph that waits."""
    path = tmp_path_factory.mktemp("doctor") / "checkpoints.db"
    with sqlite_saver(path) as saver:
        hold(saver)
        graph = agent().compile(checkpointer=saver)
        graph.invoke({"messages": []}, {"configurable": {"thread_id": "waits"}})
    return path


@pytest.fixture(scope="module")
def found(file: Path) -> Figures:
    return figures(f"sqlite:///{file}")


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    dsn = new_database(postgres_server)
    with PostgresSaver.from_conn_string(dsn) as saver:
        saver.setup()
        hold(saver)
    return dsn


def total(found: Figures, case: str, group: str) -> int:
    return sum(
        value
        for (of, name), value in found.items()
        if of == case and name.startswith(f"{group}/") and name.count("/") == 1
    )


def test_every_byte_is_counted_once(file: Path, found: Figures) -> None:
    case = f"sqlite:///{file}"
    assert found[case, "threads"] == found[case, "examined_threads"] == 2
    assert found[case, "database_bytes"] == file.stat().st_size
    rows = found[case, "row_bytes"]
    assert found[case, "examined_bytes"] == rows
    assert found["long", "thread_bytes"] + found["waits", "thread_bytes"] == rows
    assert found[case, "thread/long"] == found["long", "thread_bytes"]
    for group in ("thread", "namespace", "kind"):
        assert total(found, case, group) == rows
    for thread in ("long", "waits"):
        for group in ("kind", "namespace"):
            assert total(found, thread, group) == found[thread, "thread_bytes"]
        assert 0.8 < total(found, thread, "channel") / found[thread, "thread_bytes"] < 1


def test_namespaces_channels_and_kinds_are_told_apart(found: Figures) -> None:
    names = {name for case, name in found if case == "waits"}
    assert any(name.startswith("namespace/ask:") for name in names)
    assert found["waits", "channel/__interrupt__"] > 20_000
    assert found["long", "channel/messages"] > 0.9 * found["long", "thread_bytes"]
    assert found["long", "kind/checkpoints"] > 5 * found["long", "kind/writes"]
    assert found["long", "kind/checkpoints/rows"] == found["long", "steps"] == 3 * TURNS


def test_growth_is_foreseen(file: Path, found: Figures, tmp_path: Path) -> None:
    assert found["long", "growth"] == "quadratic"
    with sqlite_saver(tmp_path / "twice.db") as saver:
        hold(saver, turns=2 * TURNS)
    came = figures(f"sqlite:///{tmp_path / 'twice.db'}")
    assert found["long", f"forecast/{6 * TURNS}"] == pytest.approx(came["long", "thread_bytes"], rel=0.05)
    assert found["long", f"chain/forecast/{6 * TURNS}"] == pytest.approx(
        came["long", "chain/thread_bytes"] + came["long", "chain/stored_bytes"], rel=0.15
    )
    text = " ".join(run("langgraph", f"sqlite:///{file}").stdout.split())
    assert "Growth: quadratic. The next step adds" in text
    assert "At this growth the thread takes 1 GiB at step" in text


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_a_chain_saves_is_what_a_saver_with_one_writes(
    kind: str, found: Figures, database: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    store = MemoryStore()
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store))
    if kind == "sqlite":
        url, foreseen = f"sqlite:///{tmp_path / 'chained.db'}", found
        with sqlite_saver(tmp_path / "chained.db") as saver:
            hold(ClaimCheckSaver(saver, chain))
    else:
        url, foreseen = new_database(postgres_server), figures(database)
        with PostgresSaver.from_conn_string(url) as postgres:
            postgres.setup()
            hold(ClaimCheckSaver(postgres, chain))
    came = figures(url)
    stored = asyncio.run(sizes(store))
    assert foreseen["long", "chain/stored_bytes"] == pytest.approx(sum(stored), rel=0.05)
    assert foreseen["long", "chain/objects"] == len(stored)
    assert foreseen["long", "chain/thread_bytes"] == pytest.approx(came["long", "thread_bytes"], rel=0.1)
    assert came["long", "chain/thread_bytes"] == came["long", "thread_bytes"], "nothing is encoded twice"
    assert came["long", "chain/objects"] == 0
    assert came["long", "form/coatcheck reference/stands_for"] > 10 * came["long", "thread_bytes"]


async def sizes(store: MemoryStore) -> list[int]:
    return [entry.size async for entry in store.list_objects()]


def test_postgres_is_counted_as_it_keeps_the_columns(database: str) -> None:
    found = figures(database)
    [case] = {case for case, name in found if name == "database_bytes"}
    assert case.startswith("postgresql://127.0.0.1:")
    assert "@" not in case
    assert found[case, "row_bytes"] == found["long", "thread_bytes"] < found[case, "database_bytes"]
    with psycopg.connect(database) as connection:
        [[blobs]] = connection.execute("SELECT sum(pg_column_size(blob)) FROM checkpoint_blobs").fetchall()
        [[writes]] = connection.execute("SELECT sum(pg_column_size(blob)) FROM checkpoint_writes").fetchall()
    assert found["long", "channel/messages"] == pytest.approx(blobs + writes, rel=0.1)
    assert found["long", "steps"] == 3 * TURNS


def test_a_user_who_may_only_read_is_enough(database: str, postgres_server: PostgresServer) -> None:
    name = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}".encode())
    url = postgres_server.dsn(database.rpartition("/")[2], user=name, password="secret")  # noqa: S106 - made for this test
    assert figures(url)["long", "steps"] == 3 * TURNS
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"REVOKE SELECT ON checkpoint_blobs FROM {name}".encode())  # noqa: S608 - ours
    assert "permission denied for table checkpoint_blobs" in refusal(url)


def test_nothing_is_written_beside_a_file_or_in_it(file: Path) -> None:
    def state() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in file.parent.iterdir()}

    before = state()
    figures(f"sqlite:///{file}")
    assert state() == before


def test_what_is_not_in_the_file_yet_is_seen_too(file: Path, tmp_path: Path) -> None:
    with sqlite_saver(tmp_path / "open.db") as saver:
        hold(saver, turns=1)
        assert (tmp_path / "open.db-wal").stat().st_size > 0
        assert figures("sqlite:///open.db")["long", "steps"] == 3


def test_no_object_is_made_of_a_value(tmp_path: Path) -> None:
    module = types.ModuleType("made_by_a_stranger")
    stranger = make_dataclass("Stranger", [("said", str)])
    stranger.__module__ = module.__name__
    vars(module)["Stranger"] = stranger
    sys.modules[module.__name__] = module
    (tmp_path / f"{module.__name__}.py").write_text("raise SystemExit('imported')")
    with sqlite_saver(tmp_path / "strange.db") as saver:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        values = {"value": stranger("x" * 10_000)}
        checkpoint: Any = {
            "v": 4,
            "id": "1",
            "ts": "",
            "channel_values": values,
            "channel_versions": {},
            "versions_seen": {},
        }
        saver.put(config, checkpoint, {}, {})
    del sys.modules[module.__name__]
    assert figures("sqlite:///strange.db")["t", "channel/value"] > 10_000
    assert module.__name__ not in sys.modules


def test_what_langgraph_has_encrypted_counts_as_it_is(tmp_path: Path) -> None:
    with sqlite_saver(tmp_path / "encrypted.db") as saver:
        saver.serde = EncryptedSerializer(Cipher())
        hold(saver, turns=2)
    found = figures("sqlite:///encrypted.db")
    untried = found["long", "chain/untried_bytes"]
    assert untried > 0.9 * found["long", "thread_bytes"]
    assert found["long", "form/encrypted by the engine"] == untried
    assert found["long", "chain/thread_bytes"] > untried
    assert found["long", "carried_again_bytes"] < 1000
    assert "encrypted by LangGraph" in run("langgraph", "sqlite:///encrypted.db").stdout


def test_only_the_largest_threads_are_read(file: Path) -> None:
    found = figures(f"sqlite:///{file}", "--threads", "1")
    case = f"sqlite:///{file}"
    assert (found[case, "threads"], found[case, "examined_threads"]) == (2, 1)
    assert found[case, "examined_bytes"] == found["long", "thread_bytes"] < found[case, "row_bytes"]
    text = " ".join(run("langgraph", case, "--threads", "1").stdout.split())
    assert "Read value by value: 1 of 2 threads" in text


def test_the_page_has_all_and_no_value(file: Path, tmp_path: Path) -> None:
    done = run("langgraph", f"sqlite:///{file}", "--html", tmp_path / "page.html")
    assert (done.exit_code, done.stderr) == (0, "")
    html = (tmp_path / "page.html").read_text()
    assert html.count("<svg") == 1, "the other thread is too young"
    for said_there in (
        "thread long",
        "thread waits",
        "Bytes by channel",
        "Bytes by namespace",
        "__interrupt__",
    ):
        assert said_there in html
    assert "<script" not in html
    assert said("draft")[:20] not in html + done.stdout
    assert "already exists" in refusal(f"sqlite:///{file}", "--html", tmp_path / "page.html")


def test_an_empty_database_is_said_to_be_empty(tmp_path: Path) -> None:
    with sqlite_saver(tmp_path / "empty.db") as saver:
        saver.setup()
    assert "There are no checkpoints." in run("langgraph", "sqlite:///empty.db").stdout
    assert figures("sqlite:///empty.db")["sqlite:///empty.db", "threads"] == 0
    nothing = DatabaseDiagnosis("", 0, 0, [], [], [], [])
    assert "There are no checkpoints." in page(nothing)


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, postgres_server: PostgresServer) -> None:
    assert "not the URL of a database" in refusal("checkpoints.db")
    assert "hunter2" not in refusal("mysql://me:hunter2@host/db")
    assert "hunter2" not in refusal("postgresql://me:hunter2%zz@host/db")
    assert "is not there" in refusal("sqlite:///missing.db")
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "text.db").write_text("hunter2" * 1000)
    assert "hunter2" not in refusal("sqlite:///text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE checkpoints (a)")
    assert "has no checkpoints of LangGraph" in refusal("sqlite:///other.db")
    assert "has no checkpoints of LangGraph" in refusal(new_database(postgres_server))
    assert "cannot be read" in refusal("postgresql://me@127.0.0.1:1/db")


def test_a_damaged_checkpoint_is_no_small_one(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged.db"
    copy.write_bytes(file.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE checkpoints SET checkpoint = x'c1' WHERE rowid = 3")
        connection.commit()
    assert "a checkpoint is damaged" in refusal("sqlite:///damaged.db")


def test_temporal_need_not_be_named(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("nothing")
    for arguments in (("--file", "history.json"), ("temporal", "--file", "history.json")):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "temporal workflow show" in done.stderr
    assert run().exit_code == 2
    assert "langgraph" in run("--help").stdout
