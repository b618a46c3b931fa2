"""Savers of each database, below a chain, and one that has every method of the interface."""

import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Store, Zstd
from tests.chains import KEY
from tests.engines.postgres import PostgresServer

_SQL = {
    "copy": """
        INSERT INTO checkpoints SELECT :to, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
        FROM checkpoints WHERE thread_id = :of;
        INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
        SELECT :to, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
        FROM writes WHERE thread_id = :of
    """,
    "prune": """
        DELETE FROM checkpoints WHERE thread_id = :of AND checkpoint_id < (
            SELECT max(checkpoint_id) FROM checkpoints AS latest
            WHERE latest.thread_id = :of AND latest.checkpoint_ns = checkpoints.checkpoint_ns
        );
        DELETE FROM writes WHERE thread_id = :of
        AND checkpoint_id NOT IN (SELECT checkpoint_id FROM checkpoints WHERE thread_id = :of)
    """,
    "runs": """
        DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN (
            SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints
            WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = :of
        );
        DELETE FROM checkpoints WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = :of
    """,
}


class WholeSqliteSaver(SqliteSaver):
    """A saver of a third party that has all optional methods, synchronous ones and asynchronous ones."""

    def _do(self, name: str, **values: str) -> None:
        with self.cursor() as cursor:
            for statement in _SQL[name].split(";"):
                cursor.execute(statement, values)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._do("copy", of=source_thread_id, to=target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        for thread in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread)
            else:
                self._do("prune", of=thread)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        for run in run_ids:
            self._do("runs", of=run)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self.copy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self.prune(thread_ids, strategy=strategy)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        self.delete_for_runs(run_ids)

    async def aget_tuple(self, config: Any) -> Any:
        return self.get_tuple(config)

    async def alist(self, config: Any, **conditions: Any) -> AsyncIterator[Any]:
        for found in list(self.list(config, **conditions)):
            yield found

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        self.delete_thread(thread_id)


def chain_on(store: Store | None = None, over: int = 4096, *, accept_plain: bool = True) -> Chain:
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY), accept_plain=accept_plain),
        Offload(store or MemoryStore(), over=over),
        cache=PayloadCache(2**20),
    )


async def keys_in(store: Store) -> list[str]:
    return [stored.key async for stored in store.list_objects("")]


def whole_sqlite(path: Path | str = ":memory:") -> WholeSqliteSaver:
    return WholeSqliteSaver(sqlite3.connect(path, check_same_thread=False))


@asynccontextmanager
async def asynchronous(kind: str, server: PostgresServer) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """One for each database, empty."""
    if kind == "memory":
        yield InMemorySaver()
    elif kind == "whole":
        yield whole_sqlite()
    elif kind == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(":memory:") as sqlite:
            yield sqlite
    else:
        async with AsyncPostgresSaver.from_conn_string(new_database(server)) as postgres:
            await postgres.setup()
            yield postgres


@contextmanager
def synchronous(kind: str, server: PostgresServer) -> Iterator[BaseCheckpointSaver[Any]]:
    """One for each database, empty."""
    if kind == "memory":
        yield InMemorySaver()
    elif kind == "sqlite":
        yield whole_sqlite()
    else:
        with PostgresSaver.from_conn_string(new_database(server)) as postgres:
            postgres.setup()
            yield postgres


def new_database(server: PostgresServer) -> str:
    name = f"langgraph_{secrets.token_hex(6)}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.dsn(name)
