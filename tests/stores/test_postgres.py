"""PostgresStore on a real PostgreSQL."""

import asyncio
import gc
import secrets
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from coatcheck.contracts.store import Store
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from coatcheck.stores.postgres import PostgresStore
from coatcheck.testing import StoreSuite
from tests.engines.postgres import PostgresServer
from tests.stores.operations import failures_of_all

_SECRET = "hunter2-not-for-logs"


@pytest.fixture
def table() -> str:
    return f"objects_{secrets.token_hex(8)}"


@pytest.fixture
async def store(postgres_server: PostgresServer, table: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(postgres_server.dsn(), table=table)
    yield made
    await made.close()


@pytest.fixture
def admin(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class _Role:
    name: str
    dsn: str


@pytest.fixture
def role(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[_Role]:
    """A user who may log in and nothing else."""
    name = f"user_{secrets.token_hex(8)}"
    _do(admin, "CREATE ROLE {} LOGIN PASSWORD {}", sql.Identifier(name), sql.Literal(_SECRET))
    yield _Role(name, postgres_server.dsn(user=name, password=_SECRET))
    _do(admin, "DROP OWNED BY {}", sql.Identifier(name))
    _do(admin, "DROP ROLE {}", sql.Identifier(name))


def _do(connection: psycopg.Connection, statement: LiteralString, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))


def _terminate_who_waits_for(admin: psycopg.Connection, table: str) -> None:
    until = time.monotonic() + 10
    while not admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE '%%' || %s || '%%'",
        [table],
    ).fetchone():
        assert time.monotonic() < until


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    async def store(self, postgres_server: PostgresServer, table: str) -> AsyncIterator[PostgresStore]:
        made = PostgresStore(postgres_server.dsn(), table=table, prefix="some/where")
        yield made
        await made.close()

    @pytest.fixture(autouse=True)
    def _reach(self, admin: psycopg.Connection) -> None:
        self.admin = admin

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        assert isinstance(store, PostgresStore)
        query = sql.SQL("SELECT data FROM {} WHERE key = %s").format(sql.Identifier(store.table))
        try:
            row = self.admin.execute(query, [f"some/where/{key}"]).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return row[0] if row else None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        assert isinstance(store, PostgresStore)
        await store.init()
        query = sql.SQL(
            "INSERT INTO {} (key, data) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET data = excluded.data"
        ).format(sql.Identifier(store.table))
        self.admin.execute(query, [f"some/where/{key}", data])


async def test_one_of_racing_processes_wins(postgres_server: PostgresServer, table: str) -> None:
    """Each writer has connections of its own, as a process of its own has; none finds a table."""
    stores = [PostgresStore(postgres_server.dsn(), table=table, connections=1) for _ in range(64)]
    outcomes = await asyncio.gather(*(one.create("a/race", b"%d" % n) for n, one in enumerate(stores)))
    assert sum(outcomes) == 1
    assert {await one.get("a/race") for one in stores} == {b"%d" % outcomes.index(True)}
    await asyncio.gather(*(one.close() for one in stores))


async def test_thousand_puts_over_one_connection(postgres_server: PostgresServer, table: str) -> None:
    store = PostgresStore(postgres_server.dsn(), table=table, connections=1, timeout=5)
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*(store.create(f"a/{n}", b"x" * 1_000) for n in range(1_000)))
        # Each page is asked for with the only connection, so the loop's body can use it too.
        async for found in store.list_objects():
            await store.delete(found.key)
    assert all(outcomes)
    assert [found async for found in store.list_objects()] == []
    await store.close()


async def test_connections_are_bounded_and_closed(
    postgres_server: PostgresServer, role: _Role, admin: psycopg.Connection, table: str
) -> None:
    _do(admin, "CREATE SCHEMA {} AUTHORIZATION {}", sql.Identifier(table), sql.Identifier(role.name))
    _do(admin, "ALTER ROLE {} CONNECTION LIMIT 3", sql.Identifier(role.name))
    store = PostgresStore(role.dsn, table=f"{table}.objects", connections=3)
    assert all(await asyncio.gather(*(store.create(f"a/{n}", b"1") for n in range(100))))
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    assert admin.execute(count, [role.name]).fetchone() == (3,)
    await store.close()
    until = time.monotonic() + 10
    while admin.execute(count, [role.name]).fetchone() != (0,):
        assert time.monotonic() < until


def test_forgotten_store_closes_with_its_loop(
    postgres_server: PostgresServer, table: str, recwarn: pytest.WarningsRecorder
) -> None:
    async def use() -> None:
        await PostgresStore(postgres_server.dsn(), table=table).create("a", b"1")

    asyncio.run(use())
    gc.collect()
    assert not recwarn.list


async def test_init_is_safe_to_repeat_and_to_race(store: PostgresStore) -> None:
    await asyncio.gather(*(store.init() for _ in range(16)))
    assert await store.create("a", b"1")
    await store.init()
    assert await store.get("a") == b"1"


async def test_processes_that_had_looked_for_the_table_failed_to_make_it_at_once(
    store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    """What a server process remembers of a table that was not there outlives the wait for who makes it."""
    for _ in range(5):
        outcomes = await asyncio.gather(*(store.create(f"a/{number}", b"1") for number in range(16)))
        assert all(outcomes)
        _do(admin, "DROP TABLE {}", sql.Identifier(table))


async def test_reading_makes_no_table(store: PostgresStore, admin: psycopg.Connection, table: str) -> None:
    with pytest.raises(PayloadNotFound):
        await store.get("a")
    await store.delete("a")
    assert [found async for found in store.list_objects()] == []
    assert admin.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,)


async def test_reader_and_writer_need_no_more_than_the_table(
    role: _Role, store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    await store.init()
    _do(
        admin,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}",
        sql.Identifier(table),
        sql.Identifier(role.name),
    )
    guest = PostgresStore(role.dsn, table=table)
    assert await failures_of_all(guest) == [None] * 5
    await guest.init()
    await guest.close()


async def test_prefixes_share_a_table_and_nothing_else(postgres_server: PostgresServer, table: str) -> None:
    stores = [PostgresStore(postgres_server.dsn(), table=table, prefix=name) for name in ("a_b", "a-b", "")]
    for number, one in enumerate(stores):
        assert await one.create("k", b"%d" % number)
    assert [await one.get("k") for one in stores] == [b"0", b"1", b"2"]
    assert [found.key async for found in stores[0].list_objects("k")] == ["k"]
    assert sorted([found.key async for found in stores[2].list_objects()]) == ["a-b/k", "a_b/k", "k"]
    await asyncio.gather(*(one.close() for one in stores))


async def test_times_are_utc(
    role: _Role, store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    await store.create("a", b"1")
    _do(admin, "GRANT SELECT ON {} TO {}", sql.Identifier(table), sql.Identifier(role.name))
    _do(admin, "ALTER ROLE {} SET timezone TO 'Asia/Kathmandu'", sql.Identifier(role.name))
    guest = PostgresStore(role.dsn, table=table)
    (here,) = [found async for found in store.list_objects()]
    (there,) = [found async for found in guest.list_objects()]
    assert there == here
    assert there.modified.tzinfo is UTC
    await guest.close()


async def test_durable_where_the_server_would_not_wait(
    role: _Role, store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    await store.init()
    _do(admin, "GRANT SELECT, INSERT, UPDATE ON {} TO {}", sql.Identifier(table), sql.Identifier(role.name))
    _do(admin, "ALTER ROLE {} SET synchronous_commit TO off", sql.Identifier(role.name))
    guest = PostgresStore(role.dsn, table=table)
    for number in range(20):
        before = admin.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert before
        await (guest.create(f"a/{number}", b"1") if number % 2 else guest.replace("a/same", b"1"))
        assert admin.execute("SELECT pg_current_wal_flush_lsn() > %s", before).fetchone() == (True,)
    await guest.close()


async def test_connection_that_the_server_closed_is_not_used(
    store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    await store.create("a", b"1")
    ended = admin.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query LIKE '%%' || %s || '%%'"
        " AND pid <> pg_backend_pid()",
        [table],
    ).fetchall()
    assert ended == [(True,)]
    assert await store.get("a") == b"1"


async def test_server_that_ends_a_statement_is_unavailable(
    postgres_server: PostgresServer, store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    await store.create("a", b"1")
    with psycopg.connect(postgres_server.dsn()) as locker:
        _do(locker, "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", sql.Identifier(table))
        waiting = asyncio.ensure_future(store.get("a"))
        await asyncio.to_thread(_terminate_who_waits_for, admin, table)
        with pytest.raises(StoreUnavailable, match="57P01"):
            await waiting
    assert await store.get("a") == b"1"


async def test_statement_is_bounded_in_time(
    postgres_server: PostgresServer, store: PostgresStore, table: str
) -> None:
    await store.create("a", b"1")
    hasty = PostgresStore(postgres_server.dsn(), table=table, connections=1, timeout=0.2)
    await hasty.get("a")
    with psycopg.connect(postgres_server.dsn()) as locker:
        _do(locker, "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", sql.Identifier(table))
        async with asyncio.timeout(60):
            failures = await failures_of_all(hasty)
    assert [type(failure) for failure in failures] == [StoreUnavailable] * 5
    assert await hasty.get("a") == b"1"
    await hasty.close()


async def test_silent_server_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        store = PostgresStore(f"postgresql://u:p@127.0.0.1:{port}/d?connect_timeout=2")
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable):
                await store.get("a")


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = PostgresStore(f"postgresql://u:{_SECRET}@127.0.0.1:{unused.getsockname()[1]}/d")
        failures = await failures_of_all(store)
    assert [type(failure) for failure in failures] == [StoreUnavailable] * 5
    assert [failure.object_id for failure in failures if failure] == ["a"] * 4 + [""]
    assert all("refused" in str(failure) for failure in failures)


async def test_too_many_connections(role: _Role, admin: psycopg.Connection) -> None:
    _do(admin, "ALTER ROLE {} CONNECTION LIMIT 0", sql.Identifier(role.name))
    with pytest.raises(StoreUnavailable, match="too many connections"):
        await PostgresStore(role.dsn).get("a")


async def test_wrong_password_is_denied(postgres_server: PostgresServer) -> None:
    failures = await failures_of_all(PostgresStore(postgres_server.dsn(password=_SECRET)))
    assert [type(failure) for failure in failures] == [StoreDenied] * 5


async def test_missing_database_is_named(postgres_server: PostgresServer) -> None:
    failures = await failures_of_all(PostgresStore(postgres_server.dsn("no_such_database")))
    assert [type(failure) for failure in failures] == [ConfigError] * 5
    assert all('"no_such_database"' in str(failure) for failure in failures)


async def test_missing_schema_is_named(postgres_server: PostgresServer) -> None:
    store = PostgresStore(postgres_server.dsn(), table="no_such_schema.objects")
    with pytest.raises(ConfigError, match='"no_such_schema"'):
        await store.create("a", b"1")
    await store.close()


async def test_missing_privileges_are_denied(role: _Role, store: PostgresStore, table: str) -> None:
    await store.create("a", b"1")
    guest = PostgresStore(role.dsn, table=table)
    assert [type(failure) for failure in await failures_of_all(guest)] == [StoreDenied] * 5
    await guest.close()
    maker = PostgresStore(role.dsn, table=f"{table}_2")
    with pytest.raises(StoreDenied):
        await maker.create("a", b"1")
    await maker.close()
    assert await store.get("a") == b"1"


async def test_foreign_table_is_a_mistake(
    store: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    _do(admin, "CREATE TABLE {} (id int)", sql.Identifier(table))
    assert [type(failure) for failure in await failures_of_all(store)] == [ConfigError] * 5


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreUnavailable),  # disk full
        ("53200", StoreUnavailable),  # out of memory
        ("57014", StoreUnavailable),  # cancelled by statement_timeout
        ("57P01", StoreUnavailable),  # admin shutdown
        ("57P03", StoreUnavailable),  # starting up
        ("40P01", StoreUnavailable),  # deadlock
        ("55P03", StoreUnavailable),  # lock not available
        ("58030", StoreUnavailable),  # input/output error
        ("08006", StoreUnavailable),  # connection failure
        ("25006", StoreUnavailable),  # a replica
        ("42501", StoreDenied),
        ("28000", StoreDenied),
        ("54000", LimitExceeded),
        ("42P10", ConfigError),
        ("XX001", StoreError),  # data corrupted
    ],
)
async def test_what_the_server_raises(
    store: PostgresStore, admin: psycopg.Connection, table: str, state: str, kind: type[CoatcheckError]
) -> None:
    """A trigger makes the server raise what cannot be brought about at will."""
    await store.init()
    _do(
        admin,
        "CREATE FUNCTION {} () RETURNS trigger LANGUAGE plpgsql AS {};"
        "CREATE TRIGGER fails BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {} ()",
        sql.Identifier(f"fail_{table}"),
        sql.Literal(
            f"BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}', DETAIL = '{_SECRET}'; END"
        ),
        sql.Identifier(table),
        sql.Identifier(f"fail_{table}"),
    )
    for write in (store.create, store.replace):
        with pytest.raises(CoatcheckError, match=state) as caught:
            await write("a", b"1")
        assert type(caught.value) is kind
        assert caught.value.object_id == "a"
        assert _SECRET not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(PayloadNotFound):
        await store.get("a")


async def test_secrets_stay_out_of_errors(role: _Role, store: PostgresStore) -> None:
    await store.init()
    wrong = PostgresStore(role.dsn.replace("/postgres", "/no_such_database"))
    denied = PostgresStore(role.dsn, table=store.table)
    for one in (wrong, denied):
        for failure in await failures_of_all(one):
            assert failure
            told: BaseException | None = failure
            while told:
                assert _SECRET not in f"{told!r}{told}{vars(told)}"
                told = told.__context__
        assert _SECRET not in repr(one)
        await one.close()


@pytest.mark.parametrize(
    "dsn", [f"postgresql://u:%zz{_SECRET}@h/d", f"password='{_SECRET}", f"nonsense={_SECRET}"]
)
def test_malformed_dsn(dsn: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PostgresStore(dsn)
    assert _SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("table", ["", "Objects", "a b", 'a"; DROP TABLE x', "a.b.c", "1a", "a" * 64, "a-b"])
def test_malformed_table(table: str) -> None:
    with pytest.raises(ConfigError, match="not a table name"):
        PostgresStore("", table=table)


@pytest.mark.parametrize("prefix", ["/", "..", "a//b", "a b", "%"])
def test_malformed_prefix(prefix: str) -> None:
    with pytest.raises(ConfigError):
        PostgresStore("", prefix=prefix)


async def test_reserved_word_is_a_table_like_any(
    postgres_server: PostgresServer, admin: psycopg.Connection
) -> None:
    store = PostgresStore(postgres_server.dsn(), table="select")
    assert await store.create("a", b"1")
    assert await store.get("a") == b"1"
    await store.close()
    _do(admin, "DROP TABLE {}", sql.Identifier("select"))


async def test_more_than_the_server_takes(store: PostgresStore) -> None:
    with pytest.raises(LimitExceeded):
        await store.create("a", bytes(1 << 30))


def test_no_connections_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="connection"):
        PostgresStore("", connections=0)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "coatcheck.stores._postgres.table", raising=False)
    monkeypatch.delitem(sys.modules, "coatcheck.stores._postgres.errors", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'coatcheck\[postgres\]'"):
        PostgresStore("postgresql://127.0.0.1/d")
