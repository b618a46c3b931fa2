"""Checkpoints in PostgreSQL. Sizes are those of columns as the server keeps them, compressed where it does so."""

from collections.abc import Iterator
from contextlib import contextmanager
from heapq import merge
from importlib.util import find_spec
from typing import Any, Final

from coatcheck.cli.doctor.langgraph.database import Count, Database, no_checkpoints
from coatcheck.cli.doctor.langgraph.values import inline, metadata_of, value_of
from coatcheck.doctor.threads import CHECKPOINTS, WRITES, Row, Value
from coatcheck.errors import ConfigError

_TABLES: Final = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def _size(*columns: str) -> str:
    return " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in columns)


_CHECKPOINT_SIZE: Final = _size(
    "thread_id", "checkpoint_ns", "checkpoint_id", "parent_checkpoint_id", "type", "checkpoint", "metadata"
)
_BLOB_SIZE: Final = _size("thread_id", "checkpoint_ns", "channel", "version", "type", "blob")
_WRITE_SIZE: Final = _size(
    "thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", "channel", "type", "blob"
)
# The values of channels belong to checkpoints.
_COUNTS: Final = f"""
    SELECT thread_id, checkpoint_ns, '{CHECKPOINTS}', sum(rows)::bigint, sum(size)::bigint FROM (
        SELECT thread_id, checkpoint_ns, count(*) AS rows, sum({_CHECKPOINT_SIZE}) AS size FROM checkpoints GROUP BY 1, 2
        UNION ALL
        SELECT thread_id, checkpoint_ns, 0, sum({_BLOB_SIZE}) FROM checkpoint_blobs GROUP BY 1, 2
    ) AS both_tables GROUP BY 1, 2
    UNION ALL
    SELECT thread_id, checkpoint_ns, '{WRITES}', count(*), sum({_WRITE_SIZE})::bigint FROM checkpoint_writes GROUP BY 1, 2
"""  # noqa: S608 - ours
_FILE: Final = "SELECT sum(pg_total_relation_size(to_regclass(name)))::bigint FROM unnest(%s::text[]) AS name"
_HEADS: Final = f"""
    SELECT checkpoint_id, checkpoint_ns, checkpoint -> 'channel_versions' AS versions,
        checkpoint -> 'channel_values' AS inline, metadata::text AS metadata, pg_column_size(metadata) AS metadata_size,
        {_CHECKPOINT_SIZE} AS size
    FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id COLLATE "C", checkpoint_ns
"""  # noqa: S608 - ours
_BLOBS: Final = f"""
    SELECT channel, version, type, blob, pg_column_size(blob), {_BLOB_SIZE} FROM checkpoint_blobs
    WHERE thread_id = %s AND checkpoint_ns = %s
    AND (channel, version) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""  # noqa: S608 - ours
_WRITES: Final = f"""
    SELECT checkpoint_id, checkpoint_ns, channel, type, blob, pg_column_size(blob), {_WRITE_SIZE} FROM checkpoint_writes
    WHERE thread_id = %s ORDER BY checkpoint_id COLLATE "C", task_id, idx
"""  # noqa: S608 - ours


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Open a database. Raises as :func:`open_database`."""
    if find_spec("psycopg") is None:
        raise ConfigError("psycopg is not installed", "pip install 'coatcheck[postgres]'")
    import psycopg  # noqa: PLC0415 - optional
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - optional

    name = "the database"
    try:
        conninfo_to_dict(url)
    except psycopg.Error:
        # Its message may have a part of the password.
        raise ConfigError("the URL of the database is malformed", "postgresql://USER@HOST/DATABASE") from None
    try:
        with psycopg.connect(url, connect_timeout=15) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            info = connection.info
            name = f"postgresql://{info.host}:{info.port}/{info.dbname}"
            found = connection.execute(
                "SELECT count(to_regclass(name)) FROM unnest(%s::text[]) AS name", [list(_TABLES)]
            ).fetchone()
            if found != (len(_TABLES),):
                raise no_checkpoints(name)
            yield _Postgres(name, connection)
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{name} cannot be read: {said}", "Check the URL and the user's rights.") from error


class _Postgres(Database):
    def __init__(self, name: str, connection: Any) -> None:
        self.name = name
        self._connection = connection

    def file_size(self) -> int:
        return int(self._connection.execute(_FILE, [list(_TABLES)]).fetchone()[0])

    def counts(self) -> list[Count]:
        return [Count(*row) for row in self._connection.execute(_COUNTS)]

    def rows(self, thread: str) -> Iterator[Row]:
        seen: set[tuple[str, str, str]] = set()
        with (
            self._connection.cursor("checkpoints_of_a_thread") as heads,
            self._connection.cursor("writes_of_a_thread") as writes,
        ):
            # A value can be large.
            heads.itersize, writes.itersize = 100, 20
            heads.execute(_HEADS, [thread])
            writes.execute(_WRITES, [thread])
            rows = merge(
                ((head[0], 0, head) for head in heads),
                ((write[0], 1, write) for write in writes),
                key=lambda found: found[:2],
            )
            for _, is_write, row in rows:
                yield self._write(row) if is_write else self._checkpoint(thread, row, seen)

    def _checkpoint(self, thread: str, head: Any, seen: set[tuple[str, str, str]]) -> Row:
        checkpoint, namespace, versions, inlined, metadata, metadata_size, size = head
        new = {
            channel: str(version)
            for channel, version in (versions or {}).items()
            if (namespace, channel, str(version)) not in seen
        }
        seen.update((namespace, channel, version) for channel, version in new.items())
        values: list[Value] = []
        blobs = self._connection.execute(_BLOBS, [thread, namespace, list(new), list(new.values())])
        for channel, _, kind, content, value_size, blob_size in blobs:
            size += blob_size
            # Of a channel without a value there is a row all the same.
            if kind != "empty":
                values.append(value_of(channel, kind, content, value_size or 0))
        values += [
            inline(channel, value, len(str(value)))
            for channel, value in (inlined or {}).items()
            if channel in new
        ]
        values.append(metadata_of(metadata.encode(), metadata_size))
        return Row(CHECKPOINTS, namespace, checkpoint, size, tuple(values))

    def _write(self, row: Any) -> Row:
        checkpoint, namespace, channel, kind, content, value_size, size = row
        return Row(WRITES, namespace, checkpoint, size, (value_of(channel, kind, content, value_size or 0),))
