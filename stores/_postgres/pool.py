"""The connections of one event loop to PostgreSQL."""

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
"""For the server to end a statement that was given up."""
_SURE_SECONDS: Final = 30.0
"""For so long after it was used a connection is taken to work: firewalls forget connections that are idle for minutes."""
_CHECK_SECONDS: Final = 1.0
"""For a connection that may be dead to show that it is not."""


class _Idle(NamedTuple):
    connection: Connection
    heard: float
    """When the server said something on it, by the loop's clock."""


class Connections:
    """At most ``limit`` connections, opened when needed, kept for the next who asks.

    One that was idle for long, or while another turned out to be dead, has to answer before it is used; if it does not,
    all that were idle as long go with it.

    Not ``psycopg_pool``, which connects in the background and can tell who waits only that time ran out: here
    who needs a connection opens it, so a wrong password, a missing database and a server that is down are
    known at once, and for what they are.
    """

    def __init__(self, conninfo: str, password: Password | None, limit: int) -> None:
        self._conninfo = conninfo
        self._password = password
        self._free = asyncio.Semaphore(limit)
        self._open: set[Connection] = set()
        self._idle: list[_Idle] = []
        self._suspected = float("-inf")
        """Whoever was last heard before this may be dead, by the loop's clock."""
        self._closed = False
        after_fork(self._leave_to_parent)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """A connection in autocommit mode, for the caller alone."""
        async with self._free:
            connection = await self._reused() or await self._opened()
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                # After a failover: the next connection goes to whichever server is the primary by then.
                await self._drop(connection)
                raise
            finally:
                await self._given_back(connection)

    async def close(self) -> None:
        """Close those that are idle now, and each of the others when it is given back."""
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
        """Tell if the server still knows the connection; drop it if not."""
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
        """Drop all that are idle and were not heard after ``when``."""
        gone = [idle for idle in self._idle if idle.heard <= when]
        self._idle = [idle for idle in self._idle if idle.heard > when]
        for connection, _ in gone:
            await self._drop(connection)

    def _leave_to_parent(self) -> None:
        """In a forked child: let go of the connections without a word to the server, which would end the parent's.

        With their descriptors open here, the server would not notice that the parent died.
        """
        for connection in self._open:
            with suppress(OSError, psycopg.Error):
                os.close(connection.fileno())
        abandon(self._open)
        self._open = set()
        self._idle = []


async def given_up_soon(statement: Awaitable[_T]) -> _T:
    """Return the result of ``statement``. Cancelled, it ends within :data:`_LAST_SECONDS`.

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


async def open_connections(
    conninfo: str, password: Password | None, limit: int
) -> AsyncGenerator[Connections, None]:
    """The connections of a loop, for :class:`PerLoop`."""
    held = Connections(conninfo, password, limit)
    try:
        yield held
    finally:
        await held.close()


def _has_news(connection: Connection) -> bool:
    """Tell if the server said something to an idle connection: nearly always that it is closing it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
