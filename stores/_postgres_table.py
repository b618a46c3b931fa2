"""One table of PostgreSQL and the connections to it. Needs the packages of ``coatcheck[postgres]``."""

import asyncio
import select
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from coatcheck.errors import ConfigError
from coatcheck.stores._per_loop import PerLoop
from coatcheck.stores._postgres_errors import typed

_T = TypeVar("_T")
_Connection = psycopg.AsyncConnection[TupleRow]

_CONNECT_SECONDS = 10
_LAST_SECONDS = 0.5
"""For the server to end a statement that was given up."""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('coatcheck ' || %(name)s, 0))"
_IS_THERE = "SELECT to_regclass(%(name)s) IS NOT NULL"


class Table:
    """Runs statements on a table, each with a connection of its own and in a transaction of its own.

    Args:
        dsn: As libpq takes it.
        name: Lower case, with its schema before a dot if need be.
        connections: The most connections in each event loop; who finds them all in use waits in line.
        timeout: Seconds that one statement may take, not counting the wait in line.

    Raises:
        ConfigError: The DSN is malformed.
    """

    def __init__(self, dsn: str, name: str, connections: int, timeout: float) -> None:
        conninfo = _conninfo(dsn)
        self._name = name
        self._identifier = sql.Identifier(*name.split("."))
        self._timeout = timeout
        self._connections = PerLoop(lambda: _open(conninfo, connections))

    async def run(self, query: LiteralString, key: str, /, **values: object) -> list[TupleRow] | None:
        """The rows that ``query`` gives, its ``{table}`` filled in; None where there is no table.

        Args:
            query: The statement.
            key: Which object an error is about.
            values: Its parameters.
        """

        async def run(connection: _Connection) -> list[TupleRow] | None:
            try:
                cursor = await connection.execute(self._filled_in(query), values, binary=True)
            except psycopg.errors.UndefinedTable:
                return None
            return await cursor.fetchall() if cursor.description else []

        return await self._guarded(key, run)

    async def make(self, definition: LiteralString) -> None:
        """Run ``definition`` if there is no table; of several processes at once, one does."""

        async def make(connection: _Connection) -> None:
            async with connection.transaction():
                await connection.execute(_LOCK, {"name": self._name})
                cursor = await connection.execute(_IS_THERE, {"name": self._name})
                if await cursor.fetchone() == (False,):
                    await connection.execute(self._filled_in(definition))

        await self._guarded("", make)

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._connections.close()

    async def _guarded(self, key: str, work: Callable[[_Connection], Awaitable[_T]]) -> _T:
        try:
            held = await self._connections.get()
            async with held.one() as connection, asyncio.timeout(self._timeout):
                return await _given_up_soon(work(connection))
        except (psycopg.Error, TimeoutError) as error:
            failure = typed(error, self._name, key)
        # Out here, so that the original does not hang on to it: psycopg's errors hold the password.
        raise failure

    def _filled_in(self, query: LiteralString) -> bytes:
        return sql.SQL(query).format(table=self._identifier).as_bytes(None)


class _Connections:
    """At most ``limit`` connections, opened when needed, kept for the next who asks.

    Not ``psycopg_pool``, which connects in the background and can tell who waits only that time ran out: here
    who needs a connection opens it, so a wrong password, a missing database and a server that is down are
    known at once, and for what they are.
    """

    def __init__(self, conninfo: str, limit: int) -> None:
        self._conninfo = conninfo
        self._free = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []
        self._closed = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[_Connection]:
        """A connection in autocommit mode, for the caller alone."""
        async with self._free:
            connection = await self._reused() or await self._opened()
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                # After a failover: the next connection goes to whichever server is the primary by then.
                await connection.close()
                raise
            finally:
                idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
                if idle and not self._closed:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def close(self) -> None:
        """Close those that are idle now, and each of the others when it is given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _reused(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not _has_news(connection):
                return connection
            await connection.close()
        return None

    async def _opened(self) -> _Connection:
        # No prepared statements: poolers such as PgBouncer hand each transaction to another server process.
        return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, prepare_threshold=None)


async def _given_up_soon(statement: Awaitable[_T]) -> _T:
    """The result of ``statement``. Cancelled, it ends within :data:`_LAST_SECONDS`.

    psycopg itself gives a server that says nothing ten seconds more, which whoever gave up does not have.
    """
    task = asyncio.ensure_future(statement)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # psycopg asks the server to end the statement when it is cancelled once, and closes the connection when twice.
        while not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=_LAST_SECONDS)
        raise


def _has_news(connection: _Connection) -> bool:
    """Whether the server said something to an idle connection: nearly always that it is closing it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _open(conninfo: str, limit: int) -> AsyncGenerator[_Connections, None]:
    held = _Connections(conninfo, limit)
    try:
        yield held
    finally:
        await held.close()


def _conninfo(dsn: str) -> str:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        pass  # It may quote the password.
    else:
        defaults: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "fallback_application_name": "coatcheck",
        }
        return make_conninfo("", **{**defaults, **given})
    raise ConfigError(
        "this is not a connection string of PostgreSQL",
        "Write postgresql://user:password@host:5432/database, with %-escapes for odd characters.",
    )
