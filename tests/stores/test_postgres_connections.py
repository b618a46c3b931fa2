"""Connections to PostgreSQL that are forgotten on the way, the passwords that they are opened with, and what they return."""

import asyncio
import json
import secrets
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError, ConfigError, StoreDenied, StoreUnavailable
from coatcheck.stores._postgres import pool as _postgres_pool
from coatcheck.stores.postgres import PostgresStore
from coatcheck.testing import StoreSuite
from tests.engines.firewall import Firewall
from tests.engines.postgres import PostgresServer
from tests.stores.operations import failures_of_all

MOST = 8
SECRET = "hunter2-not-for-logs"


@pytest.fixture
def table() -> str:
    return f"objects_{secrets.token_hex(8)}"


@pytest.fixture
def admin(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        yield connection


@pytest.fixture
async def firewall(postgres_server: PostgresServer) -> AsyncIterator[Firewall]:
    async with Firewall((postgres_server.host, postgres_server.port)) as firewall:
        yield firewall


@pytest.fixture
async def warmed(
    postgres_server: PostgresServer, firewall: Firewall, table: str
) -> AsyncIterator[PostgresStore]:
    """A store with as many connections as it may have, all of them through the firewall."""
    host, port = firewall.address
    behind = PostgresServer(port, postgres_server.password, postgres_server.user, host)
    store = PostgresStore(f"{behind.dsn()}?sslmode=disable", table=table, connections=MOST, timeout=2)
    await store.init()
    while firewall.known < MOST:
        await asyncio.gather(*(store.create(f"a/{number}", b"x") for number in range(MOST)))
    yield store
    await store.close()


async def outcome(store: Store, number: int) -> CoatcheckError | None:
    try:
        assert await store.get(f"a/{number}") == b"x"
    except CoatcheckError as error:
        return error
    return None


async def test_each_call_on_a_connection_that_a_firewall_forgot_waited_for_its_time_out(
    warmed: PostgresStore, firewall: Firewall
) -> None:
    firewall.forget()
    started = time.monotonic()
    outcomes = [await outcome(warmed, number) for number in range(MOST)]
    assert [type(one) for one in outcomes if one] == [StoreUnavailable]
    # The time-out of the one, and a second in which the next one did not answer; not 8 times that.
    assert time.monotonic() - started < MOST * 2 - 1
    assert [await outcome(warmed, number) for number in range(MOST)] == [None] * MOST


async def test_connections_that_were_idle_for_long_are_checked_before_they_are_used(
    warmed: PostgresStore, firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_postgres_pool, "_SURE_SECONDS", 0.0)
    firewall.forget()
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(outcome(warmed, number) for number in range(MOST))) == [None] * MOST
    firewall.forget()
    started = time.monotonic()
    assert [await outcome(warmed, number) for number in range(MOST)] == [None] * MOST
    assert time.monotonic() - started < MOST - 0.5


async def test_call_that_is_cancelled_on_a_dead_connection_tells_the_others(
    warmed: PostgresStore, firewall: Firewall
) -> None:
    """As the deadline of a chain does."""
    firewall.forget()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await warmed.get("a/0")
    assert [await outcome(warmed, number) for number in range(MOST)] == [None] * MOST


async def test_connections_that_work_stay_when_a_statement_was_slow(
    postgres_server: PostgresServer, warmed: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    def backends() -> set[int]:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%' || %s || '%%' AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in admin.execute(query, [table]).fetchall()}

    before = backends()
    with psycopg.connect(postgres_server.dsn()) as locker:
        locker.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
        assert type(await outcome(warmed, 0)) is StoreUnavailable
    assert await asyncio.gather(*(outcome(warmed, number) for number in range(MOST))) == [None] * MOST
    assert len(before & backends()) >= MOST - 1


async def test_kernel_is_asked_to_notice_dead_connections(warmed: PostgresStore) -> None:
    connections = await warmed._table._connections.get()
    (info, *_) = {idle.connection.info for idle in connections._idle}
    parameters = info.get_parameters()
    assert parameters["keepalives_idle"] == "30"
    assert parameters["tcp_user_timeout"] == "10000"


@pytest.fixture
def role(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    """The name of one who may log in, and make tables."""
    name = f"user_{secrets.token_hex(8)}"
    admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    admin.execute(sql.SQL("CREATE SCHEMA {0} AUTHORIZATION {0}").format(sql.Identifier(name)))
    yield name
    admin.execute(sql.SQL("DROP OWNED BY {0}").format(sql.Identifier(name)))
    admin.execute(sql.SQL("DROP ROLE {0}").format(sql.Identifier(name)))


class Tokens:
    """Gives a password that the server takes from now on, and no other, as a service of tokens does."""

    def __init__(self, admin: psycopg.Connection, role: str) -> None:
        self.given = 0
        self.threads: set[threading.Thread] = set()
        self._admin = admin
        self._role = role

    def __call__(self) -> str:
        self.given += 1
        self.threads.add(threading.current_thread())
        token = f"{SECRET}-{self.given}"
        change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(self._role), sql.Literal(token))
        self._admin.execute(change)
        return token

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


@pytest.mark.parametrize("later", [False, True])
async def test_password_is_asked_for_at_each_new_connection(
    postgres_server: PostgresServer, admin: psycopg.Connection, role: str, table: str, *, later: bool
) -> None:
    dsn = f"postgresql://{role}@{postgres_server.host}:{postgres_server.port}/postgres"
    tokens = Tokens(admin, role)
    store = PostgresStore(
        dsn, table=f"{role}.{table}", connections=1, password=tokens.later if later else tokens
    )
    assert tokens.given == 0
    assert await store.create("a", b"1")
    assert await store.get("a") == b"1"
    assert tokens.given == 1
    admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s", [role])
    assert await store.get("a") == b"1"
    assert tokens.given == 2
    assert later or threading.main_thread() not in tokens.threads
    assert SECRET not in repr(store)
    await store.close()


def _raises() -> str:
    raise LookupError("no credentials")


def _gives_bytes() -> str:
    return SECRET.encode()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("password", "kind", "said"),
    [
        (lambda: SECRET, StoreDenied, "28P01"),
        (_raises, StoreUnavailable, "LookupError"),
        (_gives_bytes, ConfigError, "bytes"),
    ],
)
async def test_password_that_is_none_is_an_error_without_it(
    postgres_server: PostgresServer, password: Callable[[], str], kind: type[CoatcheckError], said: str
) -> None:
    dsn = f"postgresql://{postgres_server.user}@{postgres_server.host}:{postgres_server.port}/postgres"
    with pytest.raises(kind, match=said) as caught:
        await PostgresStore(dsn, password=password).get("a")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    told: BaseException | None = caught.value
    while told:
        assert SECRET not in f"{told!r}{vars(told)}"
        told = told.__context__


async def test_password_that_does_not_come_is_not_waited_for_for_ever(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coatcheck.stores._postgres.connection.CONNECT_SECONDS", 0.05)

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    dsn = f"postgresql://{postgres_server.user}@{postgres_server.host}:{postgres_server.port}/postgres"
    with pytest.raises(StoreUnavailable, match="password"):
        await PostgresStore(dsn, password=never).get("a")


def test_two_passwords_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="Keep one of them") as caught:
        PostgresStore(f"postgresql://u:{SECRET}@h/d", password=lambda: "x")
    assert SECRET not in str(caught.value)


async def test_role_that_may_make_no_table_is_told_about_create(
    postgres_server: PostgresServer, admin: psycopg.Connection, role: str, table: str
) -> None:
    admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(SECRET)))
    store = PostgresStore(postgres_server.dsn(user=role, password=SECRET), table=f"public.{table}")
    create, replace, _, _, _ = await failures_of_all(store)
    for failure in (create, replace):
        assert type(failure) is StoreDenied
        assert "42501" in failure.what
        assert "Grant the role CREATE on the schema" in failure.todo
    with pytest.raises(StoreDenied, match="CREATE on the schema"):
        await store.init()
    await store.close()


@pytest.fixture
def ascii_database(postgres_server: PostgresServer, admin: psycopg.Connection) -> Iterator[str]:
    name = f"ascii_{secrets.token_hex(8)}"
    admin.execute(
        sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'").format(
            sql.Identifier(name)
        )
    )
    yield postgres_server.dsn(name)
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class TestDatabaseWithoutAnEncoding(StoreSuite):
    """All that is saved there was lost to who listed it."""

    model_examples = 5

    @pytest.fixture
    async def store(self, ascii_database: str) -> AsyncIterator[PostgresStore]:
        store = PostgresStore(ascii_database)
        yield store
        await store.close()

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        connections = await _store(store)._table._connections.get()
        async with connections.one() as connection:
            try:
                cursor = await connection.execute("SELECT data FROM coatcheck_objects WHERE key = %s", [key])
            except psycopg.errors.UndefinedTable:
                return None
            row = await cursor.fetchone()
        return row[0] if row else None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        await store.replace(key, data)


def _store(store: Store) -> PostgresStore:
    assert isinstance(store, PostgresStore)
    return store


IN_A_PROGRAM_OF_ITS_OWN_WAYS = """
import asyncio, json, sys
import psycopg
from psycopg.adapt import Dumper, Loader
from coatcheck.stores.postgres import PostgresStore

class Odd(Loader):
    def load(self, data):
        return memoryview(b"odd")

class OddBinary(Odd):
    format = psycopg.pq.Format.BINARY

class OddDumper(Dumper):
    def dump(self, value):
        return b"odd"

for name in ("bytea", "text", "int8", "timestamptz", "bool"):
    psycopg.adapters.register_loader(name, Odd)
    psycopg.adapters.register_loader(name, OddBinary)
for kind in (str, bytes, int):
    psycopg.adapters.register_dumper(kind, OddDumper)

async def main():
    store = PostgresStore(sys.argv[1], table=sys.argv[2])
    assert await store.create("a/b", b"\\xff\\x00")
    assert not await store.create("a/b", b"")
    listed = [[entry.key, entry.size] for entry in await store.list_first("a", 5)]
    print(json.dumps([(await store.get("a/b")).hex(), listed]))

asyncio.run(main())
"""


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP", None])
def test_what_the_environment_chose_came_back_in_place_of_what_was_saved(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, table: str, encoding: str | None
) -> None:
    dsn = postgres_server.dsn()
    if encoding:
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
        dsn = f"{dsn}?client_encoding={encoding}"
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROGRAM_OF_ITS_OWN_WAYS, dsn, table],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["ff00", [["a/b", 2]]]


async def test_first_object_is_asked_for_alone(
    warmed: PostgresStore, admin: psycopg.Connection, table: str
) -> None:
    first = [entry.key for entry in await warmed.list_first("a/", 1)]
    assert first == ["a/0"]
    assert [entry.key for entry in await warmed.list_first("a/", 3)] == ["a/0", "a/1", "a/2"]
    assert len(await warmed.list_first("a/", 5_000)) == MOST
