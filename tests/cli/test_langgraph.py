"""``coatcheck langgraph migrate`` on the databases of LangGraph's own savers."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from typer.testing import CliRunner

from coatcheck import Chain
from coatcheck.cli.app import app
from coatcheck.integrations.langgraph import ClaimCheckSaver
from coatcheck.integrations.langgraph.database.migration import Migrated, Migration
from coatcheck.integrations.langgraph.database.urls import tables_at
from coatcheck.integrations.langgraph.rows import Rows
from tests.cli.sweeping import Done, objects
from tests.engines.postgres import PostgresServer
from tests.integrations.langgraph.graphs import agent, loop, said, with_deltas
from tests.integrations.langgraph.savers import new_database
from tests.integrations.langgraph.test_reading import Cipher

KINDS = ["sqlite", "postgres"]


def migrate(*arguments: str) -> Done:
    done = CliRunner().invoke(app, ["langgraph", "migrate", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def url_of(kind: str, server: PostgresServer, folder: Path) -> str:
    return f"sqlite:///{folder / 'threads.sqlite'}" if kind == "sqlite" else new_database(server)


@contextmanager
def saver_at(url: str) -> Iterator[BaseCheckpointSaver[Any]]:
    if url.startswith("sqlite"):
        with SqliteSaver.from_conn_string(url.removeprefix("sqlite:///")) as sqlite:
            yield sqlite
    else:
        with PostgresSaver.from_conn_string(url) as postgres:
            postgres.setup()
            yield postgres


def of(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}, "metadata": {"note": "a secret note"}}


def listing(saver: BaseCheckpointSaver[Any], thread: str) -> list[Any]:
    return list(saver.list({"configurable": {"thread_id": thread}}))


def dump(url: str) -> str:
    """Everything in the database, as text."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            tables = [
                connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
                for name in ("checkpoints", "writes")
            ]
        return str(tables)
    names = (b"checkpoints", b"checkpoint_blobs", b"checkpoint_writes")
    with psycopg.connect(url) as database:
        return str([database.execute(b"SELECT * FROM " + name).fetchall() for name in names])


async def rewritten(url: str, serde: SerializerProtocol, *, look: bool) -> Migrated:
    """As by the command, but for ciphers of programs."""
    async with Chain.from_settings() as chain, tables_at(url, writes=not look) as tables:
        migration = Migration(tables, Rows(chain, "default", serde), lambda *_: None)
        return await (migration.look() if look else migration.run())


@pytest.mark.parametrize("encrypts", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_migrated_threads_are_read_as_before_and_nothing_is_left_in_the_clear(
    kind: str,
    postgres_server: PostgresServer,
    payloads: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    encrypts: bool,
) -> None:
    url = url_of(kind, postgres_server, payloads.parent)
    graphs: dict[str, Any] = {"agent": agent(), "deltas": with_deltas(), "loop": loop()}
    serde = EncryptedSerializer(Cipher()) if encrypts else JsonPlusSerializer()
    with saver_at(url) as saver:
        saver.serde = serde
        for name, graph in graphs.items():
            compiled = graph.compile(checkpointer=saver)
            for n in range(3):
                compiled.invoke(
                    {"messages": [said((name, n)), "a secret word"], "approved": "short secret"}, of(name)
                )
        before = {name: listing(saver, name) for name in graphs}
        states = {
            name: graph.compile(checkpointer=saver).get_state(of(name)) for name, graph in graphs.items()
        }

    if encrypts:
        unchanged = dump(url)
        assert "Set LANGGRAPH_AES_KEY" in migrate(url).err
        assert dump(url) == unchanged
    looked, done = (asyncio.run(rewritten(url, serde, look=look)) for look in (True, False))
    assert looked.left == done.left == {}
    assert looked.threads == done.threads == len(graphs)
    assert (looked.rows, looked.before) == (done.rows, done.before)
    assert 0 < done.after < done.before
    again = migrate(url, "--json")
    assert again.scopes == {}
    assert again.figures["nothing to rewrite", "threads"] == len(graphs)
    assert "secret" not in dump(url)

    monkeypatch.setenv("COATCHECK_ACCEPT_PLAIN", "false")
    with saver_at(url) as saver:
        ours = ClaimCheckSaver(saver, Chain.from_settings())
        assert {name: listing(ours, name) for name in graphs} == before
        for name, graph in graphs.items():
            compiled = graph.compile(checkpointer=ours)
            assert compiled.get_state(of(name)) == states[name]
            compiled.invoke({"messages": ["on"]}, of(name))


def test_values_of_classes_that_are_not_here_become_the_payloads_that_they_are(payloads: Path) -> None:
    """The command has none of the classes of a program: it must not make objects of values."""
    file = payloads.parent / "threads.sqlite"
    program = f"""
import dataclasses, sqlite3, sys
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

@dataclasses.dataclass
class Order:
    id: int
    lines: list

Order.__module__ = "of_the_program"
sys.modules["of_the_program"] = sys.modules["__main__"]
saver = SqliteSaver(sqlite3.connect({str(file)!r}))
at = {{"configurable": {{"thread_id": "t", "checkpoint_ns": ""}}}}
large, small = Order(1, ["x" * 900]), Order(2, [])
"""
    write = """
put = {**empty_checkpoint(), "channel_values": {"order": large}, "channel_versions": {"order": "1"}}
saver.put_writes(saver.put(at, put, {"step": 0}, {"order": "1"}), [("order", small)], "task")
"""
    read = """
from coatcheck import Chain
from coatcheck.integrations.langgraph import ClaimCheckSaver
[found] = ClaimCheckSaver(saver, Chain.from_settings()).list(at)
assert found.checkpoint["channel_values"] == {"order": large}, found
assert [write[2] for write in found.pending_writes] == [small], found
"""
    subprocess.run([sys.executable, "-c", program + write], check=True, timeout=120)
    assert migrate(f"sqlite:///{file}").code == 0
    subprocess.run([sys.executable, "-c", program + read], check=True, timeout=120)


@pytest.mark.parametrize("kind", KINDS)
def test_one_thread_and_then_the_rest(kind: str, postgres_server: PostgresServer, payloads: Path) -> None:
    url = url_of(kind, postgres_server, payloads.parent)
    with saver_at(url) as saver:
        compiled = loop().compile(checkpointer=saver)
        for name in ("one", "two", "three"):
            compiled.invoke({"messages": [said(name)]}, of(name))
        before = listing(saver, "two")
        done = migrate(url, "--thread", "one", "--json")
        assert done.figures["rewritten", "threads"] == 1
        assert listing(saver, "two") == before
    assert "has no thread 'four'" in migrate(url, "--thread", "four").err
    rest = migrate(url)
    assert rest.code == 0
    assert "2 " in rest.out
    assert migrate(url, "--json").figures["nothing to rewrite", "threads"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_somebody_else_changes_meanwhile_is_not_overwritten(
    kind: str, postgres_server: PostgresServer, payloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(kind, postgres_server, payloads.parent)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    with saver_at(url) as saver:
        loop().compile(checkpointer=saver).invoke({"messages": [said("in")]}, of("t"))
        latest: Any = saver.get_tuple(config)
        saver.put_writes(latest.config, [("__error__", "before")], "task")
        encode, times = Rows.value, 0

        async def meanwhile(self: Rows, thread: str, checkpoint: str, channel: str, row: Any) -> Any:
            nonlocal times
            if channel == "__error__" and times < limit:
                times += 1
                saver.put_writes(latest.config, [("__error__", f"after {times}")], "task")
            return await encode(self, thread, checkpoint, channel, row)

        monkeypatch.setattr(Rows, "value", meanwhile)
        limit = 10
        done = migrate(url)
        assert done.code == 1
        assert "'t': somebody else changed it meanwhile" in done.out
        left: Any = saver.get_tuple(config)
        assert ("task", "__error__", f"after {times}") in left.pending_writes
        limit = times + 1
        assert migrate(url).code == 0
        found: Any = ClaimCheckSaver(saver, Chain.from_settings()).get_tuple(config)
        assert ("task", "__error__", f"after {limit}") in found.pending_writes


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_leaves_threads_as_they_were_or_rewritten(
    kind: str, postgres_server: PostgresServer, payloads: Path
) -> None:
    url = url_of(kind, postgres_server, payloads.parent)
    names = [f"t{n}" for n in range(8)]
    with saver_at(url) as saver:
        compiled = loop().compile(checkpointer=saver)
        for name in names:
            compiled.invoke({"messages": [said(name)]}, of(name))
        before = {name: listing(saver, name) for name in names}
    command = subprocess.Popen(
        [sys.executable, "-c", "from coatcheck.cli import main; main()", "langgraph", "migrate", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not objects(payloads):
        assert command.poll() is None
        time.sleep(0.001)
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=60)
    assert command.returncode in (130, 0)
    with saver_at(url) as saver:
        ours = ClaimCheckSaver(saver, Chain.from_settings())
        assert {name: listing(ours, name) for name in names} == before
    assert migrate(url).code == 0
    with saver_at(url) as saver:
        ours = ClaimCheckSaver(saver, Chain.from_settings())
        assert {name: listing(ours, name) for name in names} == before


def test_what_cannot_be_migrated_is_said(
    postgres_server: PostgresServer, payloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = payloads.parent
    (folder / "empty.sqlite").touch()
    url = f"sqlite:///{folder}/threads.sqlite"
    with saver_at(url) as saver:
        cast("Any", saver).setup()
    nothing = postgres_server.dsn().replace(postgres_server.password, "hunter2")
    said_of = {
        "mysql://root:hunter2@localhost/x": "is not the URL of a database",
        f"sqlite:///{folder}/none.sqlite": "there is no file",
        f"sqlite:///{folder}/empty.sqlite": "is no database of LangGraph's savers",
        url: "has no threads at all",
        new_database(postgres_server): "has no tables of LangGraph's savers",
        nothing: "password authentication failed",
    }
    for given, words in said_of.items():
        done = migrate(given)
        assert (done.code, done.out, done.err.count("\n")) == (75 if given == nothing else 1, "", 1)
        assert words in done.err
        assert "hunter2" not in done.err
    assert not (folder / "none.sqlite").exists()

    with saver_at(url) as saver:
        saver.serde = EncryptedSerializer(Cipher())
        loop().compile(checkpointer=saver).invoke({"messages": [said("in")]}, of("t"))
    before = dump(url)
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    if find_spec("Crypto") is None:
        assert "pip install pycryptodome" in migrate(url).err
    else:
        assert "Check LANGGRAPH_AES_KEY" in migrate(url).out
    monkeypatch.delenv("LANGGRAPH_AES_KEY")
    monkeypatch.setenv("COATCHECK_DECODE_ONLY", "true")
    assert "decode_only" in migrate(url).err
    assert dump(url) == before
    assert objects(payloads) == []
