"""Databases by URL."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.integrations.langgraph.database.tables import Tables

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")


def tables_at(url: str, *, writes: bool) -> Tables:
    """Return the tables of a database; nothing is connected yet.

    Args:
        url: ``sqlite:///FILE``, with a fourth slash for an absolute path, or ``postgresql://USER@HOST/DATABASE``.
        writes: True to write.

    Raises:
        ConfigError: It is not such a URL, or psycopg is not installed.
    """
    if url.startswith(_SQLITE) and url != _SQLITE:
        from coatcheck.integrations.langgraph.database.sqlite import SqliteConnection  # noqa: PLC0415
        from coatcheck.integrations.langgraph.database.sqlite_tables import SqliteTables  # noqa: PLC0415

        return SqliteTables(SqliteConnection(Path(url.removeprefix(_SQLITE)), writes=writes))
    if url.startswith(_POSTGRES):
        if find_spec("psycopg") is None:
            raise ConfigError("psycopg is not installed", "Run: pip install 'coatcheck[postgres]'")
        # Optional.
        from coatcheck.integrations.langgraph.database.postgres import PostgresConnection  # noqa: PLC0415
        from coatcheck.integrations.langgraph.database.postgres_tables import PostgresTables  # noqa: PLC0415

        return PostgresTables(PostgresConnection(url))
    raise ConfigError(
        "this is not the URL of a database",
        "Expected: sqlite:///FILE or postgresql://USER@HOST:5432/DATABASE",
    )
