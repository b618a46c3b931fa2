"""A PostgreSQL database of LangGraph's ``PostgresSaver`` or ``AsyncPostgresSaver``."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from coatcheck.errors import ConfigError, EngineError
from coatcheck.integrations.langgraph.database.connection import Connection
from coatcheck.runtime.extras import require_extra

with require_extra("postgres"):
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

_CONNECT_SECONDS: Final = 30
_TODO: Final = "Check the URL, the rights of the role, and the server's log."
_UNDEFINED: Final = ("42P01", "42703")


class PostgresConnection(Connection):
    """A connection to a database.

    Args:
        url: As for psycopg; without a password also those of the environment and of ``~/.pgpass`` are tried.

    Raises:
        ConfigError: ``url`` is not one.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            self._options: dict[str, Any] = conninfo_to_dict(url)
        except psycopg.Error:
            raise ConfigError(
                "this is not a URL of PostgreSQL", "Expected: postgresql://USER@HOST:5432/DATABASE"
            ) from None
        self._options.setdefault("connect_timeout", _CONNECT_SECONDS)
        where = self._options.get("host") or "localhost"
        self.name = f"database {self._options.get('dbname', '')!r} of PostgreSQL at {where}"

    def connect(self) -> Any:
        """See :meth:`Connection.connect`."""
        # Statements that are not prepared: also for poolers that hand out another connection for each transaction.
        return psycopg.connect(make_conninfo("", **self._options), autocommit=True, prepare_threshold=None)

    def begin(self) -> None:
        """See :meth:`Connection.begin`."""
        self.execute("BEGIN", ())

    def execute(self, sql: str, values: Sequence[Any]) -> Any:
        """See :meth:`Connection.execute`."""
        return self._raw.execute(sql, values)

    def open_cursor(self, sql: str, values: Sequence[Any]) -> Any:
        """See :meth:`Connection.open_cursor`."""
        self.execute("BEGIN READ ONLY", ())
        return self._raw.cursor("coatcheck").execute(sql, values)

    def close_cursor(self, cursor: Any) -> None:
        """See :meth:`Connection.close_cursor`."""
        with suppress(psycopg.Error):
            # After an error the server does not even close.
            cursor.close()
        if not self._raw.closed:
            self.execute("ROLLBACK", ())

    def explained(self, error: Exception) -> Exception:
        """See :meth:`Connection.explained`."""
        if not isinstance(error, psycopg.Error):
            return error
        words, _, _ = (error.diag.message_primary or str(error)).partition("\n")
        if error.sqlstate in _UNDEFINED:
            return ConfigError(f"{self.name} has no tables of LangGraph's savers: {words}", "Check the URL.")
        return EngineError(f"{self.name}: {words}", _TODO)
