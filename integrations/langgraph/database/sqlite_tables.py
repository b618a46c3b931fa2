"""The tables of ``SqliteSaver``: a checkpoint's row has the values of all channels."""

import json
from collections.abc import AsyncIterator
from typing import Any

from coatcheck.integrations.langgraph.database.connection import Change
from coatcheck.integrations.langgraph.database.sqlite import SqliteConnection
from coatcheck.integrations.langgraph.database.tables import MARKS, Piece, Tables, Values
from coatcheck.integrations.langgraph.rows import Row, Rows
from coatcheck.retention.live import Origin

_KEY = ("thread_id", "checkpoint_ns", "checkpoint_id")
_AT = " AND ".join(f"{name} = %s" for name in _KEY)
_READ = (
    f"SELECT type, checkpoint, metadata, sha256(checkpoint), sha256(metadata) FROM checkpoints WHERE {_AT}"  # noqa: S608
)
_WRITE = (
    f"UPDATE checkpoints SET type = %s, checkpoint = %s, metadata = %s WHERE {_AT} "  # noqa: S608
    "AND type = %s AND sha256(checkpoint) = %s AND sha256(metadata) = %s"
)


class SqliteTables(Tables):
    """See :class:`Tables`."""

    all = ("checkpoints", "writes")
    values = (
        Values("checkpoints", _KEY, "checkpoint", "checkpoint_id", "checkpoint_id"),
        Values("writes", (*_KEY, "task_id", "idx"), "value", "checkpoint_id, task_id, idx", "checkpoint_id"),
    )

    def __init__(self, connection: SqliteConnection) -> None:
        super().__init__(connection)
        self._path = str(connection.path)

    async def origin(self) -> Origin:
        """Return the path of the file: SQLite gives it no ID."""
        await self.connection.fetch("SELECT thread_id FROM checkpoints LIMIT 1")
        return Origin(self._path)

    def searches(self) -> list[tuple[Any, ...]]:
        """See :meth:`Tables.searches`."""
        columns = [(table.table, table.value) for table in self.values] + [("checkpoints", "metadata")]
        return [
            (
                (
                    f"SELECT {column} FROM {table} WHERE instr(CAST({column} AS BLOB), %s) "  # noqa: S608
                    f"OR instr(CAST({column} AS BLOB), %s)"
                ),
                *MARKS,
            )
            for table, column in columns
        ]

    async def checkpoints(self, thread: str, rows: Rows) -> AsyncIterator[Piece]:
        """See :meth:`Tables.checkpoints`."""
        keys = await self.connection.fetch(
            f"SELECT {', '.join(_KEY)} FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id",  # noqa: S608
            thread,
        )
        for key in keys:
            found = await self.connection.fetch(_READ, *key)
            if not found:
                continue
            [(kind, data, told, *digests)] = found
            checkpoint: Row = (kind or "", bytes(data or b""))
            metadata = json.loads(told) if told is not None else {}
            has_values = rows.has_values(thread, key[2], checkpoint)
            has_metadata = rows.has_metadata(metadata)
            if not has_values and not has_metadata:
                continue
            size = len(checkpoint[1]) * has_values + len(told or "") * has_metadata

            async def sealed(
                key: tuple[Any, ...] = key,
                checkpoint: Row = checkpoint,
                metadata: dict[str, Any] = metadata,
                told: Any = told,
                digests: list[bytes] = digests,
            ) -> list[Change]:
                new = await rows.checkpoint(thread, key[2], checkpoint)
                size = len(new[1]) * (new != checkpoint)
                if rows.has_metadata(metadata):
                    changed = await rows.metadata(thread, key[2], metadata)
                    told = json.dumps(changed, ensure_ascii=False).encode("utf-8", "surrogatepass")
                    size += len(told)
                return [Change(_WRITE, (*new, told, *key, checkpoint[0], *digests), size)]

            yield Piece(size, sealed)
