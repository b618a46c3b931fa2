"""A pool of connections to PostgreSQL, for one event loop."""

import asyncio
import os
import select
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from coatcheck.runtime.forks import abandon, after_fork
from coatcheck.stores._postgres.connection import Connection, Password, connected

_T = TypeVar("_T")

_LAST_SECONDS: Final = 0.5
"""Seconds for the server to end a cancelled statement."""
_SURE_SECONDS: Final = 30.0
"""Seconds after its last use for which a connection counts as working: firewalls drop connections idle for minutes."""
_CHECK_SECONDS: Final = 1.0
"""Seconds for a connection that may be dead to answer."""


class _Idle(NamedTuple):
    connection: Connection
    heard: float
    """The time of the server's last answer, by the loop's clock."""


class Connections:
    """A pool of at most ``limit`` connections, opened when needed and reused. For one event loop.

    A connection that was idle for long, or while another one turned out to be dead, must answer before it is used; if it does
    not, it is closed with all that were idle as long.

    Not ``psycopg_pool``: that connects in the background and reports only a time-out to a waiting caller. Here the caller
    itself connects, so that a wrong password, a missing database and a server that is down are reported at once and
    precisely.

    Args:
        conninfo: The connection string from :func:`~coatcheck.stores._postgres.connection.conninfo_of`.
        password: Called for the password of each new connection; None for none.
        limit: Most connections open at once.
    """

    def __init__(self, conninfo: str, password: Password | None, limit: int) -> None:
        self._conninfo = conninfo
        self._password = password
        self._free = asyncio.Semaphore(limit)
        self._open: set[Connection] = set()
        self._idle: list[_Idle] = []
        self._suspected = float("-inf")
        """A connection without an answer since this time, by the loop's clock, may be dead."""
        self._closed = False
        after_fork(self._leave_to_parent)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode to the caller alone, within the block."""
        async with self._free:
            connection = await self._reused() or await self._opened()
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                # After a failover: the next connection goes to the new primary.
                await self._drop(connection)
                raise
            finally:
                await self._given_back(connection)

    async def close(self) -> None:
        """Close idle connections now, and each of the others when it is returned."""
        self._closed = True
        await self._drop_idle_since(float("inf"))

    async def _given_back(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if not idle and connection in self._open:
            self._suspected = now
        if idle and not self._closed:
            self._idle.append(_Idle(connection, now))
        else:
            await self._drop(connection)

    async def _reused(self) -> Connection | None:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection, heard = self._idle.pop()
            now = loop.time()
            if _has_news(connection):
                await self._drop(connection)
            elif heard > max(self._suspected, now - _SURE_SECONDS) or await self._answers(connection):
                return connection
            else:
                await self._drop_idle_since(now)
        return None

    async def _answers(self, connection: Connection) -> bool:
        """Return True if the server answers on the connection; drop it if not."""
        sound = False
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await given_up_soon(connection.execute("SELECT 1"))
            sound = True
        except (psycopg.Error, TimeoutError):
            pass
        finally:
            if not sound:
                await self._drop(connection)
        return sound

    async def _opened(self) -> Connection:
        connection = await connected(self._conninfo, self._password)
        self._open.add(connection)
        return connection

    async def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        await connection.close()

    async def _drop_idle_since(self, when: float) -> None:
        """Drop all idle connections without an answer after ``when``."""
        gone = [idle for idle in self._idle if idle.heard <= when]
        self._idle = [idle for idle in self._idle if idle.heard > when]
        for connection, _ in gone:
            await self._drop(connection)

    def _leave_to_parent(self) -> None:
        """Abandon the connections in a forked child without a message to the server, which would end the parent's.

        Their descriptors are closed: otherwise the server would not notice the death of the parent.
        """
        for connection in self._open:
            with suppress(OSError, psycopg.Error):
                os.close(connection.fileno())
        abandon(self._open)
        self._open = set()
        self._idle = []


async def given_up_soon(statement: Awaitable[_T]) -> _T:
    """Return the result of ``statement``. Cancelled, it ends within :data:`_LAST_SECONDS`.

    psycopg itself would wait ten more seconds for a silent server, which is too long for a cancelled caller.
    """
    task = asyncio.ensure_future(statement)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Cancelled once, psycopg asks the server to end the statement; cancelled twice, it closes the connection.
        while not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=_LAST_SECONDS)
        raise


async def open_connections(
    conninfo: str, password: Password | None, limit: int
) -> AsyncGenerator[Connections, None]:
    """Open the connections of a loop, for :class:`PerLoop`."""
    connections = Connections(conninfo, password, limit)
    try:
        yield connections
    finally:
        await connections.close()


def _has_news(connection: Connection) -> bool:
    """Return True if the server has sent data on an idle connection: nearly always that it closes it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
