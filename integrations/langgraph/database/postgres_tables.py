"""The tables of ``PostgresSaver``: numbers and short texts stand in the checkpoint, other values once for each version."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final, NamedTuple

from coatcheck.integrations.langgraph.database.connection import Change
from coatcheck.integrations.langgraph.database.tables import MARKS, Piece, Tables, Values
from coatcheck.integrations.langgraph.rows import Rows
from coatcheck.integrations.langgraph.sealed import TYPE
from coatcheck.retention.live import Origin

_KEY = ("thread_id", "checkpoint_ns", "checkpoint_id")
_AT = " AND ".join(f"{name} = %s" for name in _KEY)


def _digest(column: str) -> str:
    return f"sha256(convert_to({column}::text, 'UTF8'))"


_READ = (
    f"SELECT checkpoint_ns, checkpoint_id, checkpoint -> 'channel_values', checkpoint -> 'channel_versions', metadata, "  # noqa: S608
    f"{_digest('checkpoint')}, {_digest('metadata')} FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id"
)
_WRITE = (
    "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values}', "  # noqa: S608
    "coalesce(checkpoint -> 'channel_values', '{}') - %s::text[]), metadata = coalesce(%s::jsonb, metadata) "
    f"WHERE {_AT} AND {_digest('checkpoint')} = %s AND {_digest('metadata')} = %s"
)
_BLOB = "SELECT type FROM checkpoint_blobs WHERE thread_id = %s AND checkpoint_ns = %s AND channel = %s AND version = %s"
_INSERT = (
    "INSERT INTO checkpoint_blobs AS there (thread_id, checkpoint_ns, channel, version, type, blob) "
    "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (thread_id, checkpoint_ns, channel, version) "
    "DO UPDATE SET type = EXCLUDED.type, blob = EXCLUDED.blob WHERE there.type = 'empty'"
)
_SEARCHED: Final = (
    ("checkpoint_blobs", "blob"),
    ("checkpoint_writes", "blob"),
    ("checkpoints", "convert_to(metadata::text, 'UTF8')"),
    ("checkpoints", "convert_to(checkpoint::text, 'UTF8')"),
)


class PostgresTables(Tables):
    """See :class:`Tables`."""

    all = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    values = (
        Values(
            "checkpoint_blobs",
            ("thread_id", "checkpoint_ns", "channel", "version"),
            "blob",
            "version, channel",
            "version",
        ),
        Values(
            "checkpoint_writes",
            (*_KEY, "task_id", "idx"),
            "blob",
            "checkpoint_id, task_id, idx",
            "checkpoint_id",
        ),
    )

    async def origin(self) -> Origin:
        """Return the ID of the cluster, and the database with the schema in it."""
        [found] = await self.connection.fetch(
            "SELECT (SELECT system_identifier FROM pg_control_system())::text, current_database(), "
            "(SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'checkpoints'::regclass)"
        )
        cluster, database, schema = found
        return Origin(cluster, f"{database}.{schema}")

    def searches(self) -> list[tuple[Any, ...]]:
        """See :meth:`Tables.searches`."""
        return [
            (
                (
                    f"SELECT {column} FROM {table} WHERE position(%s::bytea in {column}) > 0 "  # noqa: S608
                    f"OR position(%s::bytea in {column}) > 0"
                ),
                *MARKS,
            )
            for table, column in _SEARCHED
        ]

    async def checkpoints(self, thread: str, rows: Rows) -> AsyncIterator[Piece]:
        """See :meth:`Tables.checkpoints`."""
        done: set[tuple[str, str, str]] = set()
        for space, checkpoint, values, versions, metadata, *digests in await self.connection.fetch(
            _READ, thread
        ):
            inline = {
                name: value
                for name, value in (values or {}).items()
                if name in versions
                and not await self._is_snapshot(thread, space, name, versions[name], value)
            }
            if not inline and not rows.has_metadata(metadata):
                continue
            size = len(json.dumps(inline)) * bool(inline) + len(json.dumps(metadata)) * rows.has_metadata(
                metadata
            )
            new = {
                name: (versions[name], value)
                for name, value in inline.items()
                if (space, name, str(versions[name])) not in done
            }
            done |= {(space, name, str(version)) for name, (version, _) in new.items()}
            row = _Checkpoint((thread, space, checkpoint), list(inline), new, metadata, digests)
            yield Piece(size, partial(_sealed, row, rows))

    async def _is_snapshot(self, thread: str, space: str, channel: str, version: Any, value: Any) -> bool:
        """Return True if a value is the mark of a ``DeltaChannel``'s snapshot, which stands among the blobs."""
        if value is not True:
            return False
        found = await self.connection.fetch(_BLOB, thread, space, channel, str(version))
        return bool(found) and found[0][0] not in (TYPE, "empty")


class _Checkpoint(NamedTuple):
    key: tuple[str, str, str]
    inline: list[str]
    """Channels whose values are to be taken out."""
    new: dict[str, tuple[Any, Any]]
    """The channels without a blob yet, each with its version and value."""
    metadata: dict[str, Any]
    digests: list[bytes]


async def _sealed(row: _Checkpoint, rows: Rows) -> list[Change]:
    thread, space, checkpoint = row.key
    changes: list[Change] = []
    for channel, (version, value) in row.new.items():
        sealed = await rows.simple(thread, checkpoint, channel, value)
        place = (thread, space, channel, str(version))
        changes.append(Change(_INSERT, (*place, *sealed), len(sealed[1]), is_needed=False))
    told = None
    if rows.has_metadata(row.metadata):
        told = json.dumps(await rows.metadata(thread, checkpoint, row.metadata))
    changes.append(Change(_WRITE, (row.inline, told, *row.key, *row.digests), len(told or "")))
    return changes
