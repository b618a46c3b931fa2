"""Savers of each way, on SQLite and PostgreSQL, and counts of the bytes that they read and keep."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks.charting.ways import COATCHECK, DELTA, DELTA_AND_COATCHECK, ENCRYPTED, PLAIN
from benchmarks.loads.counted import Counted
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.langgraph import ClaimCheckSaver

WAYS = (PLAIN, DELTA, ENCRYPTED, COATCHECK, DELTA_AND_COATCHECK)
_NONCE = 12
_PATIENCE = 300.0
"""Seconds for a request to the store: a busy machine is no failure here."""


@dataclass(slots=True)
class Read:
    """Bytes that were read."""

    database: int = 0
    """Bytes of all columns of all rows that the database returned."""
    store: list[Counted] = field(default_factory=list)

    @property
    def stored(self) -> int:
        """Bytes of the objects that the store returned."""
        return sum(store.fetched for store in self.store)


@contextmanager
def saver_of(
    way: str, database: str, folder: Path, read: Read | None = None
) -> Iterator[BaseCheckpointSaver[Any]]:
    """Yield a saver with empty caches.

    Args:
        way: One of :data:`WAYS`.
        database: A file of SQLite, or the URL of a PostgreSQL database.
        folder: The folder of the store.
        read: Counts the bytes that are read; None for no count.
    """
    with _below(database, read) as saver:
        if way == ENCRYPTED:
            saver.serde = EncryptedSerializer(_Aes(), JsonPlusSerializer())
        if way not in {COATCHECK, DELTA_AND_COATCHECK}:
            yield saver
            return
        store: Any = FileStore(folder)
        if read is not None:
            store = Counted(store)
            read.store.append(store)
        chain = Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(store, deadline=_PATIENCE))
        try:
            yield ClaimCheckSaver(saver, chain)
        finally:
            chain.sync.close()


def size_of(database: str) -> int:
    """Return the bytes that a database takes, indexes included."""
    if database.startswith("postgresql:"):
        with psycopg.connect(database) as postgres:
            found = postgres.execute(
                "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            ).fetchone()
        assert found is not None
        return int(found[0])
    with closing(sqlite3.connect(database)) as sqlite:
        sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(database).stat().st_size


class _Aes(CipherProtocol):
    """The fastest that ``cryptography`` has, with the fixed key of a benchmark."""

    def __init__(self) -> None:
        self._cipher = AESGCM(bytes(32))

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """See :class:`CipherProtocol`."""
        nonce = os.urandom(_NONCE)
        return "aes", nonce + self._cipher.encrypt(nonce, plaintext, None)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """See :class:`CipherProtocol`."""
        assert ciphername == "aes"
        return self._cipher.decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], None)


@contextmanager
def _below(database: str, read: Read | None) -> Iterator[BaseCheckpointSaver[Any]]:
    if database.startswith("postgresql:"):
        with psycopg.connect(
            database, autocommit=True, prepare_threshold=0, cursor_factory=_postgres_cursor(read)
        ) as postgres:
            saver = PostgresSaver(cast("Any", postgres))
            saver.setup()
            yield saver
    else:
        with closing(sqlite3.connect(database, check_same_thread=False, factory=_sqlite(read))) as sqlite:
            yield SqliteSaver(sqlite)


def _sqlite(read: Read | None) -> type[sqlite3.Connection]:
    if read is None:
        return sqlite3.Connection
    counted = read

    class Cursor(sqlite3.Cursor):
        def fetchone(self) -> Any:
            return self._noted(super().fetchone())

        def fetchall(self) -> list[Any]:
            return [self._noted(row) for row in super().fetchall()]

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> Any:
            return self._noted(super().__next__())

        def _noted(self, row: Any) -> Any:
            counted.database += sum(len(column) for column in row or () if isinstance(column, str | bytes))
            return row

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = None) -> Any:  # noqa: ARG002 - the signature of sqlite3
            return super().cursor(Cursor)

    return Connection


def _postgres_cursor(read: Read | None) -> type[psycopg.Cursor[Any]]:
    if read is None:
        return psycopg.Cursor
    counted = read

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, *args: Any, **options: Any) -> Self:
            super().execute(*args, **options)
            result = self.pgresult
            if result is not None:
                for row in range(result.ntuples):
                    counted.database += sum(
                        len(result.get_value(row, at) or b"") for at in range(result.nfields)
                    )
            return self

    return Cursor
