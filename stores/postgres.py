"""Objects as rows of a PostgreSQL table."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC
from typing import Any, LiteralString

from coatcheck.contracts.store import (
    DEFAULT_LIMIT,
    Store,
    StoredObject,
    check_key,
    check_size,
    first_in_order,
)
from coatcheck.errors import ConfigError, LimitExceeded, PayloadNotFound

_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")
_PAGE = 1000
_MOST_BYTES = (1 << 30) - (1 << 20)
"""PostgreSQL accepts 1 GiB in one message; the difference is for the key and the protocol."""

# A server may be configured to acknowledge writes that a crash would lose. These statements prevent it: an object is
# durable when a write returns. Stricter settings, such as waiting for replicas, stay in effect.
_INSERT = """INSERT INTO {table} (key, data) SELECT %(key)s, %(data)b
    FROM set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'local' ELSE current_setting('synchronous_commit') END, true)
    ON CONFLICT (key) DO """
_CREATE = _INSERT + "NOTHING RETURNING true"
_REPLACE = _INSERT + "UPDATE SET data = excluded.data, modified = clock_timestamp()"
_GET = "SELECT size, CASE WHEN size <= %(limit)s THEN data END FROM {table} WHERE key = %(key)s"
_DELETE = "DELETE FROM {table} WHERE key = %(key)s"
_LIST = """SELECT key, size, modified FROM {table}
    WHERE key >= %(first)s AND key < %(end)s AND key > %(after)s ORDER BY key LIMIT %(page)s"""
# Byte order, so that a prefix is a range of the index. No compression: sealed bytes are not compressible.
_MAKE = """CREATE TABLE {table} (
        key text COLLATE "C" PRIMARY KEY,
        data bytea NOT NULL,
        size bigint NOT NULL GENERATED ALWAYS AS (octet_length(data)) STORED,
        modified timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    ALTER TABLE {table} ALTER COLUMN data SET STORAGE EXTERNAL"""


class PostgresStore(Store):
    """A store in a table of PostgreSQL 12 or newer. Needs ``pip install 'coatcheck[postgres]'``.

    For users with a PostgreSQL and no bucket, and for payloads of kilobytes to a few megabytes; the limit is 1 GB. No
    connection is opened before the first statement. A write is durable when it returns, even if ``synchronous_commit``
    is off. Works through a pooler such as PgBouncer, with databases of any encoding, from several threads and event
    loops, and after a fork. Nothing is retried here.

    A connection that was idle for 30 seconds, or while a statement on another one got no answer, is checked before use: if
    it does not answer within a second, it is closed with all that were idle as long.

    The role needs SELECT, INSERT, UPDATE and DELETE on the table, and CREATE on the schema to create the table.

    Args:
        dsn: A connection URL or string for libpq. It appears in no error and no ``repr``.
        table: The table's name: lower-case letters, digits and underscores, optionally with its schema before a dot. Created
            on the first write, or by :meth:`init`, if it does not exist.
        prefix: A prefix for all keys, such as ``"prod/payloads"``.
        connections: Most connections in each event loop; further callers wait for a free one.
        timeout: Seconds for one statement, without the wait for a connection.
        password: A function, or a coroutine function, that is called for each new connection and returns the password as
            text, such as a token of RDS IAM; a function is called in a thread. It appears in no error, log or ``repr``.

    Raises:
        ConfigError: An argument is malformed, or psycopg is not installed.
    """

    def __init__(
        self,
        dsn: str,
        *,
        table: str = "coatcheck_objects",
        prefix: str = "",
        connections: int = 8,
        timeout: float = 60.0,
        password: Callable[[], str | Awaitable[str]] | None = None,
    ) -> None:
        try:
            from coatcheck.stores._postgres.table import Table  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise ConfigError(
                f"psycopg cannot be used: {missing}", "Run: pip install 'coatcheck[postgres]'"
            ) from missing
        if not _TABLE.fullmatch(table):
            raise ConfigError(
                f"{table[:80]!r} is not a table name",
                "Use lower-case letters, digits and underscores, such as coatcheck_objects or schema.table.",
            )
        if connections < 1:
            raise ConfigError("connections must be at least 1", "Pass connections=1 or more.")
        self.table = table
        self.prefix = f"{check_key(prefix.removesuffix('/'))}/" if prefix else ""
        self._table = Table(dsn, table, connections, timeout, password)

    def __repr__(self) -> str:
        return f"PostgresStore(table={self.table!r}, prefix={self.prefix!r})"

    async def init(self) -> None:
        """Create the table unless it exists. Any number of processes may call this concurrently.

        Raises:
            StoreDenied: The role may not create the table.
            StoreUnavailable: The server cannot be reached, or is busy.
            ConfigError: The database or the schema does not exist.
        """
        await self._table.make(_MAKE)

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        return bool(await self._write(_CREATE, key, data))

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        await self._write(_REPLACE, key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        rows = await self._table.run(_GET, key, key=self.prefix + check_key(key), limit=limit)
        if not rows:
            raise PayloadNotFound(
                f"there is no such object in table {self.table!r}",
                "Restore it from a backup, and check the database, the table and the prefix.",
                key,
            )
        size, data = rows[0]
        check_size(size, limit, key)
        if not isinstance(data, bytes):
            raise ConfigError(
                f"the column data of table {self.table!r} is not bytea", "Name another table.", key
            )
        return data

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        await self._table.run(_DELETE, key, key=self.prefix + check_key(key))

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. In the order of the keys; uses no connection between two pages."""
        async for entry in self._list(prefix, _PAGE):
            yield entry

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`. One request for each 1,000 objects."""
        return await first_in_order(self._list(prefix, min(count, _PAGE)), count)

    async def _list(self, prefix: str, most: int) -> AsyncIterator[StoredObject]:
        """Yield objects in the order of the keys, up to ``most`` of them in one request."""
        if not (prefix.isascii() and prefix.isprintable()):
            return  # No key starts with this.
        first = self.prefix + prefix
        after = ""
        while True:
            # Every character of a key sorts before DEL.
            page = await self._table.run(_LIST, "", first=first, end=first + "\x7f", after=after, page=most)
            for key, size, modified in page or ():
                yield StoredObject(key.removeprefix(self.prefix), size, modified.astimezone(UTC))
            if not page or len(page) < most:
                return
            after = page[-1][0]

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self._table.close()

    async def _write(self, query: LiteralString, key: str, data: bytes) -> list[Any]:
        row = {"key": self.prefix + check_key(key), "data": data}
        if len(data) > _MOST_BYTES:
            raise LimitExceeded(
                f"{len(data)} bytes are too many for one value in PostgreSQL",
                "Use a bucket for payloads of this size.",
                key,
            )
        rows = await self._table.run(query, key, **row)
        if rows is None:
            await self.init()
            rows = await self._table.run(query, key, **row)
        if rows is None:
            raise ConfigError(
                f"table {self.table!r} was created but cannot be found", "Check the search_path.", key
            )
        return rows
