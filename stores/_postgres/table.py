"""One table of PostgreSQL. Needs the packages of ``coatcheck[postgres]``."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from coatcheck.runtime.per_loop import PerLoop
from coatcheck.stores._postgres.connection import Connection, Password, conninfo_of
from coatcheck.stores._postgres.errors import MAKE, USE, typed
from coatcheck.stores._postgres.pool import given_up_soon, open_connections

_T = TypeVar("_T")

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('coatcheck ' || %(name)s, 0))"
_IS_THERE = "SELECT to_regclass(%(name)s) IS NOT NULL"


class Table:
    """A table on which statements run, each with its own connection and transaction. Safe from several event loops.

    Args:
        dsn: A connection string for libpq.
        name: The table's name in lower case, optionally with its schema before a dot.
        connections: Most connections in each event loop; further callers wait for a free one.
        timeout: Seconds for one statement, without the wait for a connection.
        password: Called for the password of each new connection.

    Raises:
        ConfigError: The DSN is malformed.
    """

    def __init__(
        self, dsn: str, name: str, connections: int, timeout: float, password: Password | None
    ) -> None:
        conninfo = conninfo_of(dsn, with_password=password is not None)
        self._name = name
        self._identifier = sql.Identifier(*name.split("."))
        self._timeout = timeout
        self._connections = PerLoop(lambda: open_connections(conninfo, password, connections))

    async def run(self, query: LiteralString, key: str, /, **values: object) -> list[TupleRow] | None:
        """Run ``query``, with ``{table}`` filled in, and return its rows; None if the table does not exist.

        Args:
            query: The statement.
            key: The key of the object, for errors.
            values: Parameters of the statement.
        """

        async def run(connection: Connection) -> list[TupleRow] | None:
            try:
                cursor = await connection.execute(self._filled_in(query), values, binary=True)
            except psycopg.errors.UndefinedTable:
                return None
            return await cursor.fetchall() if cursor.description else []

        return await self._guarded(key, USE, run)

    async def make(self, definition: LiteralString) -> None:
        """Run ``definition`` unless the table exists; of several concurrent processes, one does."""

        async def make(connection: Connection) -> None:
            # A server process that has looked for the table before may notice only later that another one created it.
            with suppress(psycopg.errors.DuplicateTable):
                async with connection.transaction():
                    await connection.execute(_LOCK, {"name": self._name})
                    cursor = await connection.execute(_IS_THERE, {"name": self._name})
                    if await cursor.fetchone() == (False,):
                        await connection.execute(self._filled_in(definition))

        await self._guarded("", MAKE, make)

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._connections.close()

    async def _guarded(self, key: str, grant: str, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        try:
            connections = await self._connections.get()
            async with connections.one() as connection, asyncio.timeout(self._timeout):
                return await given_up_soon(work(connection))
        except (psycopg.Error, TimeoutError) as error:
            failure = typed(error, self._name, key, grant)
        # Raised here, so that the original error is not chained: psycopg's errors contain the password.
        raise failure

    def _filled_in(self, query: LiteralString) -> bytes:
        return sql.SQL(query).format(table=self._identifier).as_bytes(None)
