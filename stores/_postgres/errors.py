"""PostgreSQL's errors in our error tree, by SQLSTATE: messages are in the language of the server."""

import re
from typing import Final

import psycopg

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

USE: Final = "Grant the role CONNECT, and SELECT, INSERT, UPDATE, DELETE on the table."
MAKE: Final = (
    "Grant the role CREATE on the schema (since PostgreSQL 15, public denies it to all but its owner). Or run `coatcheck store"
    " init` as a role that may create tables, and grant this role SELECT, INSERT, UPDATE, DELETE on the table."
)
_BUSY: Final = "Wait, or give the server more resources. No partial object was kept."
_LOG_IN: Final = "Check the user, the password and pg_hba.conf."
_DATABASE: Final = "Create it, or name an existing one."
_REACH: Final = "Check that the server runs, can be reached from here, and has the required certificate."

# The first characters of a state are its class (server's manual, "PostgreSQL Error Codes").
_BY_STATE: Final[tuple[tuple[tuple[str, ...], type[CoatcheckError], str], ...]] = (
    (("28",), StoreDenied, _LOG_IN),
    (("3D", "3F"), ConfigError, _DATABASE),
    (("42",), ConfigError, "Name another table, or let coatcheck create the table itself."),
    (("54",), LimitExceeded, "PostgreSQL stores at most 1 GB in one value; use a bucket for more."),
    (("25006",), StoreUnavailable, "The server is a replica; connect to the primary, which accepts writes."),
    (("08", "40", "53", "55", "57", "58"), StoreUnavailable, _BUSY),
)
_DENIED: Final = "42501"
_POOLER: Final = "08P01"
# PgBouncer uses this one state for nearly all its own errors; their texts are fixed in its source and never translated.
_BY_POOLER: Final[tuple[tuple[re.Pattern[str], type[CoatcheckError], str], ...]] = (
    (
        re.compile(r"\b(SASL|password|cert) authentication failed|\bno such user|\blogin rejected"),
        StoreDenied,
        _LOG_IN,
    ),
    (re.compile(r"\bno such database"), ConfigError, _DATABASE),
    (
        re.compile(r"\bunsupported startup parameter"),
        ConfigError,
        "Remove it, or configure PgBouncer to ignore it.",
    ),
)


def typed(error: psycopg.Error | TimeoutError, table: str, key: str, grant: str) -> CoatcheckError:
    """Return the error to raise. It has no part of the connection string, and only the first line of the server's message.

    Args:
        error: The error of psycopg, or the time-out of a statement.
        table: The table's name.
        key: The object's key.
        grant: The remedy for a missing privilege: :data:`USE` or :data:`MAKE`.
    """
    where = f"table {table!r} in PostgreSQL"
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{where} did not answer in time", _BUSY, key)
    words, _, _ = (error.diag.message_primary or str(error)).partition("\n")
    if error.sqlstate is None:
        if isinstance(error, psycopg.OperationalError):
            return StoreUnavailable(f"{where}: {words}", _REACH, key)
        return StoreError(f"{where}: {words}", "See the server's log.", key)
    kind, todo = _meaning(error.sqlstate, words, grant)
    return kind(f"{where}: {words} (SQLSTATE {error.sqlstate})", todo, key)


def _meaning(state: str, words: str, grant: str) -> tuple[type[CoatcheckError], str]:
    if state == _DENIED:
        return StoreDenied, grant
    if state == _POOLER:
        for pattern, kind, todo in _BY_POOLER:
            if pattern.search(words):
                return kind, todo
    for states, kind, todo in _BY_STATE:
        if state.startswith(states):
            return kind, todo
    return StoreError, "See the server's log."
