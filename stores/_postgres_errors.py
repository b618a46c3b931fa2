"""What PostgreSQL's errors mean to a store."""

import re

import psycopg

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|is not permitted to log in"
    r"|role .* does not exist|permission denied for database|certificate"
)
_NO_DATABASE = re.compile(r"database .* does not exist")
_BUSY = "Wait, or give the server more room; nothing partial was kept."

# The first two characters of a state are its class: "PostgreSQL Error Codes" in the server's manual.
_BY_STATE: tuple[tuple[tuple[str, ...], type[CoatcheckError], str], ...] = (
    (
        ("28", "42501"),
        StoreDenied,
        "Grant the role CONNECT, and SELECT, INSERT, UPDATE, DELETE on the table.",
    ),
    (("3D", "3F"), ConfigError, "Create it, or name one that exists."),
    (("42",), ConfigError, "Name another table, or let coatcheck make this one: it creates what it needs."),
    (("54",), LimitExceeded, "PostgreSQL keeps at most 1 GB in one value; use a bucket for more."),
    (("25006",), StoreUnavailable, "The server is a replica; the primary takes writes."),
    (("08", "40", "53", "55", "57", "58"), StoreUnavailable, _BUSY),
)


def typed(error: psycopg.Error | TimeoutError, table: str, key: str) -> CoatcheckError:
    """The error to raise. It holds nothing of the connection string, and of the server's words only the first line.

    Args:
        error: What psycopg raised, or the time-out of a statement.
        table: The table's name.
        key: The object's key.
    """
    where = f"table {table!r} in PostgreSQL"
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{where} did not answer in time", _BUSY, key)
    if error.sqlstate is None:
        return _from_words(error, where, key)
    said = f"{where}: {error.diag.message_primary} (SQLSTATE {error.sqlstate})"
    return _from_state(error.sqlstate, said, key)


def _from_words(error: psycopg.Error, where: str, key: str) -> CoatcheckError:
    """Of a connection that was not made there is no SQLSTATE, only what the server said."""
    words = str(error)
    first, _, _ = words.partition("\n")
    said = f"{where}: {first}"
    if _NO_DATABASE.search(words):
        return ConfigError(said, "Create the database, or name one that exists.", key)
    if _REFUSED.search(words):
        return StoreDenied(said, "Check the user, the password and pg_hba.conf.", key)
    if isinstance(error, psycopg.OperationalError):
        return StoreUnavailable(said, "Check that the server runs and can be reached from here.", key)
    return StoreError(said, "See the server's log.", key)


def _from_state(state: str, said: str, key: str) -> CoatcheckError:
    for states, kind, todo in _BY_STATE:
        if state.startswith(states):
            return kind(said, todo, key)
    return StoreError(said, "See the server's log.", key)
