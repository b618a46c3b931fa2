"""One connection to PostgreSQL: the types of its results are fixed, and its errors have their SQLSTATE."""

import asyncio
import ctypes
import inspect
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import psycopg
from psycopg import postgres, pq
from psycopg.abc import PQGenConn
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import lookup
from psycopg.rows import TupleRow, tuple_row
from psycopg.waiting import Wait

from coatcheck.errors import CoatcheckError, ConfigError, StoreUnavailable

Password = Callable[[], str | Awaitable[str]]

CONNECT_SECONDS: Final = 10
_VERBOSE: Final = 2
"""``PQERRORS_VERBOSE``."""
_STATE: Final = re.compile(r":  ([0-9A-Z]{5}): ")
"""The SQLSTATE after the severity in a verbose error, in any language (libpq's ``pqBuildErrorMessage3``)."""
_REFUSED: Final = "28P01"
_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_SECONDS,
    "fallback_application_name": "coatcheck",
    # The kernel notices a connection that a firewall dropped within a minute of its last use; unacknowledged data, sooner.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * CONNECT_SECONDS,
}
# Overrides the environment, the database and the host program: keys are ASCII, and are returned as text.
_PINNED: Final[dict[str, Any]] = {"client_encoding": "UTF8"}
_ADAPTERS: Final = AdaptersMap(types=postgres.types)
postgres.register_default_adapters(_ADAPTERS)


class Connection(psycopg.AsyncConnection[TupleRow]):
    """A connection whose errors have their SQLSTATE, including errors of connecting."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        # As psycopg.generators, but with the SQLSTATE, which libpq reports only in its message.
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        _tell_states(pgconn)
        while True:
            status = pq.PollingStatus.FAILED if pgconn.status == pq.ConnStatus.BAD else pgconn.connect_poll()
            if status == pq.PollingStatus.OK:
                pgconn.nonblocking = 1
                return cls(pgconn, tuple_row)
            if status == pq.PollingStatus.FAILED:
                said = pgconn.get_error_message("utf-8")
                states = _STATE.findall(said) or [_REFUSED] * pgconn.needs_password
                pgconn.finish()
                raise _error(states)(_STATE.sub(":  ", said))
            wait = Wait.R if status == pq.PollingStatus.READING else Wait.W
            while not (yield pgconn.socket, wait):
                pass


def conninfo_of(dsn: str, *, with_password: bool) -> str:
    """Return ``dsn`` with our defaults, overridden by it, and our fixed settings, which override it.

    Args:
        dsn: A connection string or URL for libpq.
        with_password: A password function is given, so ``dsn`` must have none.

    Raises:
        ConfigError: It is malformed, or has a password although one is asked for.
    """
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        given = None  # The error may quote the password.
    if given is None:
        raise ConfigError(
            "not a connection string of PostgreSQL",
            "Write postgresql://user:password@host:5432/database, with %-escapes for special characters.",
        )
    if with_password and "password" in given:
        raise ConfigError(
            "the connection string has a password, but PostgresStore(password=...) is also given",
            "Keep one of them.",
        )
    return make_conninfo("", **{**_DEFAULTS, **given, **_PINNED})


async def connected(conninfo: str, password: Password | None) -> Connection:
    """Open a connection in autocommit mode.

    Args:
        conninfo: The connection string from :func:`conninfo_of`.
        password: Called for the password, for at most ten seconds; None for none.

    Raises:
        psycopg.Error: The connection failed.
        StoreUnavailable: ``password`` failed, or took more than ten seconds.
        ConfigError: ``password`` did not return text.
    """
    if password is not None:
        conninfo = make_conninfo(conninfo, password=await _asked_for(password))
    # No prepared statements: poolers such as PgBouncer may run each transaction in another server process.
    return await Connection.connect(
        conninfo,
        autocommit=True,
        prepare_threshold=None,
        context=_Adapters(),
    )


class _Adapters:
    """psycopg's own conversions, without those that the host program has registered."""

    adapters = _ADAPTERS
    connection = None


async def _asked_for(password: Password) -> str:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            # In a thread, since it may call a service. A coroutine function only returns its coroutine there.
            given = await asyncio.to_thread(password)
            if inspect.isawaitable(given):
                given = await given
    except CoatcheckError:
        raise
    except Exception as error:
        raise StoreUnavailable(
            f"no password for PostgreSQL: PostgresStore(password=...) raised {type(error).__name__}",
            "See the error that caused this one.",
        ) from error
    if not isinstance(given, str):
        raise ConfigError(
            f"PostgresStore(password=...) returned {type(given).__name__} instead of text",
            "Return the password as a str.",
        )
    return given


def _error(states: list[str]) -> type[psycopg.Error]:
    """Return the error class of the last state: of several attempts, the last one counts."""
    if not states:
        return psycopg.OperationalError
    try:
        return lookup(states[-1])
    except KeyError:
        return type("UnknownStateError", (psycopg.OperationalError,), {"sqlstate": states[-1]})


def _tell_states(connection: Any) -> None:
    if _set_verbosity is not None:
        _set_verbosity(ctypes.c_void_p(connection.pgconn_ptr), _VERBOSE)


def _find_set_verbosity() -> Callable[[ctypes.c_void_p, int], object] | None:
    """Find ``PQsetErrorVerbosity`` in the libpq that psycopg uses, since psycopg does not expose it; None without it."""
    try:
        if pq.__impl__ == "python":
            from psycopg.pq import _pq_ctypes  # noqa: PLC0415 - importing it elsewhere would load a second libpq

            library: Any = vars(_pq_ctypes)["pq"]
        else:
            library = ctypes.CDLL(sys.modules[pq.PGconn.__module__].__file__)
        function: Callable[[ctypes.c_void_p, int], object] = library.PQsetErrorVerbosity
    except (AttributeError, ImportError, OSError):
        return None
    return function


_set_verbosity: Final = _find_set_verbosity()
