"""Objects as rows of a SQLite file: ``attic:///file.db``."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject, check_key, check_size
from coatcheck.errors import PayloadNotFound

_SETUP = "CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB, modified REAL)"
_LIST = "SELECT key, length(data), modified FROM objects WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key"


class AtticStore(Store):
    """Keeps objects in one file."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def create(self, key: str, data: bytes) -> bool:
        insert = "INSERT INTO objects VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1"
        return bool(await self._run(insert, check_key(key), data, time.time()))

    async def replace(self, key: str, data: bytes) -> None:
        await self._run("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", check_key(key), data, time.time())

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        select = "SELECT length(data), CASE WHEN length(data) <= ? THEN data END FROM objects WHERE key = ?"
        for size, data in await self._run(select, limit, check_key(key)):
            check_size(size, limit, key)
            return bytes(data)
        raise PayloadNotFound("the attic has no such object", "Look in the cellar.", key)

    async def delete(self, key: str) -> None:
        await self._run("DELETE FROM objects WHERE key = ?", check_key(key))

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        for key, size, modified in await self._run(_LIST, prefix):
            yield StoredObject(key, size, datetime.fromtimestamp(modified, UTC))

    async def _run(self, statement: str, *values: object) -> list[Any]:
        def run() -> list[Any]:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                connection.execute(_SETUP)
                return connection.execute(statement, values).fetchall()

        return await asyncio.to_thread(run)


def from_url(url: str) -> AtticStore:
    return AtticStore(unquote(urlsplit(url).path))
