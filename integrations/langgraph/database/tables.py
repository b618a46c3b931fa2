"""The tables of LangGraph's own savers."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, NamedTuple, Self

from coatcheck.errors import ConfigError
from coatcheck.integrations.langgraph.database.connection import Change, Connection
from coatcheck.integrations.langgraph.rows import Row, Rows
from coatcheck.integrations.langgraph.sealed import TYPE
from coatcheck.retention.live import MARK, TEXT_MARK, Origin

IS_PLAIN: Final = f"substr(type, 1, {len(TYPE)}) <> '{TYPE}'"
"""The condition for rows that no saver with a chain wrote."""
_TRANSPARENT: Final = (TYPE, f"{TYPE}:msgpack", f"{TYPE}:pickle")
"""Types of rows in which references stand as they are."""
_THREADS_AT_ONCE: Final = 1000


class Piece(NamedTuple):
    """Rows that are to be encoded together."""

    size: int
    """Bytes that they have now."""
    seal: Callable[[], Awaitable[list[Change]]]
    """Encodes them, and returns the statements that put the result in their place."""


class Values(NamedTuple):
    """A table with a value in each row."""

    table: str
    key: tuple[str, ...]
    """The columns of the key; the first is the thread's."""
    value: str
    """The column with the bytes of the value, beside ``type``."""
    order: str
    """Columns by which the older rows come first."""
    checkpoint: str
    """The column that names the checkpoint in errors."""


class Tables(ABC):
    """The tables of one database. Use it as a context manager, from one task.

    Methods raise ``CoatcheckError`` if the database does not answer or refuses, and ``ConfigError`` if it is none of LangGraph's.

    Args:
        connection: To the database.
    """

    all: ClassVar[tuple[str, ...]]
    """The names of all tables that have rows of threads."""
    values: ClassVar[tuple[Values, ...]]
    """The tables with a value in each row."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def __aenter__(self) -> Self:
        await self.connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.connection.__aexit__(kind, error, trace)

    @abstractmethod
    async def origin(self) -> Origin:
        """Return what tells this database from others."""

    async def threads(self) -> AsyncIterator[str]:
        """Yield the IDs of all threads, in order, those of which there are only writes included."""
        last = ""
        each = " UNION ".join(
            # Names of tables are ours.
            f"SELECT thread_id FROM (SELECT DISTINCT thread_id FROM {table} WHERE thread_id > %s "  # noqa: S608
            f"ORDER BY thread_id LIMIT {_THREADS_AT_ONCE}) AS of_{table}"
            for table in self.all
        )
        sql = f"SELECT thread_id FROM ({each}) AS found ORDER BY thread_id LIMIT {_THREADS_AT_ONCE}"  # noqa: S608
        while found := await self.connection.fetch(sql, *(last for _ in self.all)):
            for (thread,) in found:
                yield thread
            last = found[-1][0]

    async def has_thread(self, thread: str) -> bool:
        """Return True if there are rows of a thread."""
        for table in self.all:
            sql = f"SELECT 1 FROM {table} WHERE thread_id = %s LIMIT 1"  # noqa: S608
            if await self.connection.fetch(sql, thread):
                return True
        return False

    async def references(self) -> AsyncIterator[bytes]:
        """Yield all values and metadata with a reference in them; the database leaves out most others.

        Raises:
            ConfigError: Some were written by a serializer of which it is not known where references stand.
        """
        for table in self.values:
            sql = f"SELECT DISTINCT type FROM {table.table} WHERE substr(type, 1, {len(TYPE)}) = '{TYPE}'"  # noqa: S608
            for (kind,) in await self.connection.fetch(sql):
                if kind not in _TRANSPARENT:
                    raise ConfigError(
                        f"{self.connection.name} has values of the type {kind!r}, in which references cannot be found",
                        "Sweep with LangGraphThreads and the saver that has their serializer.",
                    )
        for sql, *values in self.searches():
            async for (data,) in self.connection.stream(sql, *values):
                yield data.encode() if isinstance(data, str) else bytes(data)

    @abstractmethod
    def searches(self) -> list[tuple[Any, ...]]:
        """Return the queries for all that has a reference in it, each with its values."""

    async def pieces(self, thread: str, rows: Rows) -> AsyncIterator[Piece]:
        """Yield all that is not encoded yet in a thread, the older first.

        Args:
            thread: The thread's ID.
            rows: Encodes them.

        Raises:
            CoatcheckError: As those of ``rows``.
        """
        async for piece in self.checkpoints(thread, rows):
            yield piece
        for table in self.values:
            if table.table == "checkpoints":
                continue
            key = ", ".join(table.key)
            found = await self.connection.fetch(
                f"SELECT length({table.value}), {table.checkpoint}, channel, {key} FROM {table.table} "  # noqa: S608
                f"WHERE thread_id = %s AND {IS_PLAIN} AND {table.value} IS NOT NULL ORDER BY {table.order}",
                thread,
            )
            for size, checkpoint, channel, *place in found:
                seal = partial(self._sealed, table, tuple(place), str(checkpoint), channel, rows)
                yield Piece(size, seal)

    @abstractmethod
    def checkpoints(self, thread: str, rows: Rows) -> AsyncIterator[Piece]:
        """Yield what is not encoded yet in the rows of a thread's checkpoints, as in :meth:`pieces`."""

    async def _sealed(
        self, table: Values, key: tuple[Any, ...], checkpoint: str, channel: str, rows: Rows
    ) -> list[Change]:
        at = " AND ".join(f"{name} = %s" for name in table.key)
        found = await self.connection.fetch(
            f"SELECT type, {table.value}, sha256({table.value}) FROM {table.table} WHERE {at}",  # noqa: S608
            *key,
        )
        if not found:
            return []
        [(kind, data, digest)] = found
        row: Row = await rows.value(key[0], checkpoint, channel, (kind, data))
        sql = (
            f"UPDATE {table.table} SET type = %s, {table.value} = %s "  # noqa: S608
            f"WHERE {at} AND type = %s AND sha256({table.value}) = %s"
        )
        return [Change(sql, (*row, *key, kind, digest), len(row[1]))]


MARKS: Final = (MARK, TEXT_MARK)
"""The beginnings of references, as bytes and as text."""
