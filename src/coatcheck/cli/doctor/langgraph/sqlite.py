"""Checkpoints in a file of SQLite."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from heapq import merge
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from coatcheck.cli.doctor.langgraph.database import Count, Database, no_checkpoints
from coatcheck.cli.doctor.langgraph.values import metadata_of, value_of, values_in_checkpoint
from coatcheck.doctor.threads import CHECKPOINTS, WRITES, Row
from coatcheck.errors import ConfigError

_TABLES: Final = {"checkpoints", "writes"}
_CHECKPOINT_SIZE: Final = (
    "length(CAST(thread_id || checkpoint_ns || checkpoint_id || coalesce(parent_checkpoint_id, '') || coalesce(type, '') "
    "AS BLOB)) + coalesce(length(checkpoint), 0) + coalesce(length(CAST(metadata AS BLOB)), 0)"
)
_WRITE_SIZE: Final = (
    "length(CAST(thread_id || checkpoint_ns || checkpoint_id || task_id || channel || coalesce(type, '') AS BLOB)) "
    "+ coalesce(length(value), 0)"
)
_COUNTS: Final = f"""
    SELECT thread_id, checkpoint_ns, '{CHECKPOINTS}', count(*), sum({_CHECKPOINT_SIZE}) FROM checkpoints GROUP BY 1, 2
    UNION ALL
    SELECT thread_id, checkpoint_ns, '{WRITES}', count(*), sum({_WRITE_SIZE}) FROM writes GROUP BY 1, 2
"""  # noqa: S608 - ours
_FILE: Final = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"


@contextmanager
def opened(path: str) -> Iterator[Database]:
    """Open a file. Raises as :func:`open_database`."""
    name = f"sqlite:///{path}"
    file = Path(unquote(path))
    if not file.is_file():
        raise ConfigError(
            f"{name} is not there", "sqlite:///FILE is below this folder, sqlite:////FILE is absolute."
        )
    before = _state(file) if _is_closed(file) else None
    # SQLite would leave files beside a database that nobody has open, in which its owner may have no rights.
    how = "mode=ro" if before is None else "immutable=1"
    uri = f"file:{quote(str(file.absolute()))}?{how}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            # One transaction, so that all reads agree while others write.
            connection.isolation_level = None
            connection.execute("BEGIN")
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if not {table for (table,) in found} >= _TABLES:
                raise no_checkpoints(name)
            yield _Sqlite(name, connection)
    except sqlite3.Error as error:
        raise ConfigError(
            f"{name} cannot be read: {error}", "Name a file that a SqliteSaver writes to."
        ) from error
    if before is not None and _state(file) != before:
        raise ConfigError(f"{name} was changed while it was read", "Run the command again.")


def _is_closed(file: Path) -> bool:
    return not any(file.with_name(file.name + end).exists() for end in ("-wal", "-journal"))


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


class _Sqlite(Database):
    def __init__(self, name: str, connection: sqlite3.Connection) -> None:
        self.name = name
        self._connection = connection

    def file_size(self) -> int:
        return int(self._connection.execute(_FILE).fetchone()[0])

    def counts(self) -> list[Count]:
        return [Count(*row) for row in self._connection.execute(_COUNTS)]

    def rows(self, thread: str) -> Iterator[Row]:
        # Sorted without their values, which may be larger than memory.
        checkpoints = self._connection.execute(
            "SELECT checkpoint_id, 0, rowid FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id, checkpoint_ns",
            (thread,),
        )
        writes = self._connection.execute(
            "SELECT checkpoint_id, 1, rowid FROM writes WHERE thread_id = ? ORDER BY checkpoint_id, task_id, idx",
            (thread,),
        )
        for _, is_write, row in merge(checkpoints, writes, key=lambda found: found[:2]):
            yield self._write(row) if is_write else self._checkpoint(row)

    def _checkpoint(self, row: int) -> Row:
        namespace, checkpoint, kind, content, metadata, size = self._connection.execute(
            f"SELECT checkpoint_ns, checkpoint_id, type, checkpoint, CAST(metadata AS BLOB), {_CHECKPOINT_SIZE} "  # noqa: S608 - ours
            "FROM checkpoints WHERE rowid = ?",
            (row,),
        ).fetchone()
        about = [metadata_of(metadata)] if metadata else []
        return Row(CHECKPOINTS, namespace, checkpoint, size, (*values_in_checkpoint(kind, content), *about))

    def _write(self, row: int) -> Row:
        namespace, checkpoint, channel, kind, content, size = self._connection.execute(
            f"SELECT checkpoint_ns, checkpoint_id, channel, type, value, {_WRITE_SIZE} FROM writes WHERE rowid = ?",  # noqa: S608 - ours
            (row,),
        ).fetchone()
        return Row(WRITES, namespace, checkpoint, size, (value_of(channel, kind, content),))
