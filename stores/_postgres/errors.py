"""PostgreSQL's errors, as a store sees them, told apart by SQLSTATE: servers speak the language they are set to."""

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
    "Grant the role CREATE on the schema (since PostgreSQL 15, public denies it to all but its owner), or have who may make"
    " tables run `coatcheck store init`, and grant the role SELECT, INSERT, UPDATE, DELETE on the table."
)
_BUSY: Final = "Wait, or give the server more room; nothing partial was kept."
_LOG_IN: Final = "Check the user, the password and pg_hba.conf."
_DATABASE: Final = "Create it, or name one that exists."
_REACH: Final = (
    "Check that the server runs, can be reached from here, and has the certificate that is asked for."
)

# The first characters of a state are its class: "PostgreSQL Error Codes" in the server's manual.
_BY_STATE: Final[tuple[tuple[tuple[str, ...], type[CoatcheckError], str], ...]] = (
    (("28",), StoreDenied, _LOG_IN),
    (("3D", "3F"), ConfigError, _DATABASE),
    (("42",), ConfigError, "Name another table, or let coatcheck make this one: it creates what it needs."),
    (("54",), LimitExceeded, "PostgreSQL keeps at most 1 GB in one value; use a bucket for more."),
    (("25006",), StoreUnavailable, "The server is a replica; the primary takes writes."),
    (("08", "40", "53", "55", "57", "58"), StoreUnavailable, _BUSY),
)
_DENIED: Final = "42501"
_POOLER: Final = "08P01"
# PgBouncer has this one state for nearly all that it says itself, in words of its source, which it translates nowhere.
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
        "Leave it out, or have PgBouncer ignore it.",
    ),
)


def typed(error: psycopg.Error | TimeoutError, table: str, key: str, grant: str) -> CoatcheckError:
    """Return the error to raise: nothing of the connection string, and of the server's words only the first line.

    Args:
        error: What psycopg raised, or the time-out of a statement.
        table: The table's name.
        key: The object's key.
        grant: What to do where a privilege is missing: :data:`USE` or :data:`MAKE`.
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
