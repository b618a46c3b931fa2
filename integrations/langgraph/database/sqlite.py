"""A SQLite file of LangGraph's ``SqliteSaver`` or ``AsyncSqliteSaver``."""

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from coatcheck.errors import ConfigError, EngineError
from coatcheck.integrations.langgraph.database.connection import Connection

_BUSY_SECONDS: Final = 60.0
_TODO: Final = "Check the file, and whether another process holds it."


class SqliteConnection(Connection):
    """A connection to an existing file.

    Args:
        path: The file.
        writes: True to write.
    """

    def __init__(self, path: Path, *, writes: bool) -> None:
        super().__init__()
        self.path = path.resolve()
        self.name = str(self.path)
        self._mode = "rw" if writes else "ro"

    def connect(self) -> Any:
        """See :meth:`Connection.connect`."""
        if not self.path.is_file():
            raise ConfigError(f"there is no file {self.name}", "Check the path: sqlite:///FILE.")
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={self._mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.create_function("sha256", 1, _digest, deterministic=True)
        return connection

    def begin(self) -> None:
        """See :meth:`Connection.begin`."""
        self.execute("BEGIN IMMEDIATE", ())

    def execute(self, sql: str, values: Sequence[Any]) -> Any:
        """See :meth:`Connection.execute`."""
        return self._raw.execute(sql.replace("%s", "?"), values)

    def open_cursor(self, sql: str, values: Sequence[Any]) -> Any:
        """See :meth:`Connection.open_cursor`."""
        return self.execute(sql, values)

    def close_cursor(self, cursor: Any) -> None:
        """See :meth:`Connection.close_cursor`."""
        cursor.close()

    def explained(self, error: Exception) -> Exception:
        """See :meth:`Connection.explained`."""
        if not isinstance(error, sqlite3.Error):
            return error
        if "no such table" in str(error) or "no such column" in str(error):
            return ConfigError(
                f"{self.name} is no database of LangGraph's savers: {error}",
                "Check the path: sqlite:///FILE.",
            )
        return EngineError(f"{self.name}: {error}", _TODO)


def _digest(value: bytes | str | None) -> bytes:
    data = value.encode() if isinstance(value, str) else value or b""
    return hashlib.sha256(data).digest()
