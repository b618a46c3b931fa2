"""``coatcheck sweep langgraph`` by the databases of LangGraph's own savers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.checkpoint.postgres import PostgresSaver

from coatcheck import Chain
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.cli.sweeping import age, keep, objects, refusal, run
from tests.engines.postgres import PostgresServer
from tests.engines.process import free_port
from tests.integrations.langgraph.graphs import loop, said
from tests.integrations.langgraph.savers import new_database, whole_sqlite

KINDS = ["sqlite", "postgres"]
SHARE = ("--max-share", "0.9")
_COPY = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "checkpoint_blobs": "checkpoint_ns, channel, version, type, blob",
    "checkpoint_writes": "checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path",
}


class CopyingPostgresSaver(PostgresSaver):
    """One that copies threads."""

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        with self._cursor() as cursor:
            for table, columns in _COPY.items():
                cursor.execute(
                    cast(
                        "Any",
                        f"INSERT INTO {table} (thread_id, {columns}) SELECT %s, {columns} FROM {table} WHERE thread_id = %s",  # noqa: S608
                    ),
                    (target_thread_id, source_thread_id),
                )


@contextmanager
def saver_at(url: str) -> Iterator[Any]:
    if url.startswith("sqlite"):
        below: Any = whole_sqlite(url.removeprefix("sqlite:///"))
        yield below
        below.conn.close()
    else:
        with CopyingPostgresSaver.from_conn_string(url) as postgres:
            postgres.setup()
            yield postgres


def url_of(kind: str, server: PostgresServer, folder: Path) -> str:
    return f"sqlite:///{folder / 'threads.sqlite'}" if kind == "sqlite" else new_database(server)


def of(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def turn(saver: Any, thread: str) -> None:
    loop().compile(checkpointer=saver).invoke({"messages": [said(thread)]}, of(thread))


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_thread_has_or_refers_to_is_marked_and_then_deleted(
    kind: str, postgres_server: PostgresServer, payloads: Path
) -> None:
    url = url_of(kind, postgres_server, payloads.parent)
    with saver_at(url) as below:
        saver = ClaimCheckSaver(below, Chain.from_settings())
        for thread in ("lives", "source", "gone"):
            turn(saver, thread)
        saver.copy_thread("source", "copy")
        gone = len(objects(payloads))
        # As by an administrator, or by a process that was killed before it came to the store.
        below.delete_thread("gone")
        below.delete_thread("source")
        copied = [found.checkpoint for found in saver.list(of("copy"))]
    age(payloads)
    dry = run("langgraph", url, *SHARE)
    assert (dry.code, dry.err) == (0, "")
    assert "would be marked" in dry.out
    assert len(objects(payloads)) == gone

    assert run("langgraph", url, *SHARE, "--delete", "--json").scopes == {"live": 2, "marked": 1}
    assert run("langgraph", url, *SHARE, "--delete", "--json").scopes == {"live": 2, "waiting": 1}
    age(payloads)
    deleted = run("langgraph", url, *SHARE, "--delete", "--json")
    assert deleted.scopes == {"live": 2, "deleted": 1}
    assert deleted.figures["total", "objects deleted"] > 0
    with saver_at(url) as below:
        fresh = ClaimCheckSaver(below, Chain.from_settings())
        assert [found.checkpoint for found in fresh.list(of("copy"))] == copied
        below.delete_thread("copy")
        turn(fresh, "lives")
    age(payloads)
    assert run("langgraph", url, *SHARE, "--delete", "--json").scopes == {"live": 1, "marked": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_of_which_there_are_only_writes_is_live(
    kind: str, postgres_server: PostgresServer, payloads: Path
) -> None:
    """Writes can come before their checkpoint, and a saver does not list them."""
    url = url_of(kind, postgres_server, payloads.parent)
    at: Any = {"configurable": {"thread_id": "begun", "checkpoint_ns": "", "checkpoint_id": "1"}}
    with saver_at(url) as below:
        ClaimCheckSaver(below, Chain.from_settings()).put_writes(at, [("messages", said("first"))], "task")
        assert list(below.list(None)) == []
    age(payloads)
    assert run("langgraph", url, *SHARE, "--json").scopes == {"live": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_without_threads_is_refused_unless_that_is_said(
    kind: str, postgres_server: PostgresServer, payloads: Path
) -> None:
    url = url_of(kind, postgres_server, payloads.parent)
    with saver_at(url) as below:
        below.setup()
    assert "has no payloads of langgraph" in refusal("langgraph", url)
    keep("gone", engine="langgraph")
    age(payloads)
    before = objects(payloads)
    assert "shows no runs at all for 'default'" in refusal("langgraph", url, "--delete")
    assert objects(payloads) == before
    share = ("--max-share", "1")
    assert run("langgraph", url, "--no-runs", "default", *share, "--json").scopes == {"marked": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_another_database_than_before_is_refused(
    kind: str, postgres_server: PostgresServer, payloads: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    urls = [url_of(kind, postgres_server, tmp_path_factory.mktemp("database")) for _ in range(2)]
    for url in urls:
        with saver_at(url) as below:
            turn(ClaimCheckSaver(below, Chain.from_settings()), "lives")
    age(payloads)
    assert run("langgraph", urls[0], "--delete", "--json").scopes == {"live": 1}
    assert "were swept for the" in refusal("langgraph", urls[1], "--delete")
    assert run("langgraph", urls[1], "--moved", "--delete", "--json").scopes == {"live": 1}


def test_values_in_which_references_cannot_be_found_end_a_sweep(payloads: Path) -> None:
    url = f"sqlite:///{payloads.parent / 'threads.sqlite'}"
    with saver_at(url) as below:
        turn(ClaimCheckSaver(below, Chain.from_settings()), "lives")
        below.conn.execute("UPDATE checkpoints SET type = 'coatcheck:packed'")
        below.conn.commit()
    keep("gone", engine="langgraph")
    age(payloads)
    assert "'coatcheck:packed', in which references cannot be found" in refusal("langgraph", url, "--delete")


def test_a_database_that_is_not_there(postgres_server: PostgresServer, payloads: Path) -> None:
    keep("gone", engine="langgraph")
    age(payloads)
    before = objects(payloads)
    for url, words in {
        f"sqlite:///{payloads.parent}/none.sqlite": "there is no file",
        new_database(postgres_server): "has no tables of LangGraph's savers",
        f"postgresql://me:hunter2@127.0.0.1:{free_port()}/threads": "connection",
        "redis://localhost": "is not the URL of a database",
    }.items():
        for options in (["--delete"], []):
            said_of = refusal("langgraph", url, *options, code=75 if words == "connection" else 1)
            assert words in said_of
            assert "hunter2" not in said_of
    assert objects(payloads) == before
