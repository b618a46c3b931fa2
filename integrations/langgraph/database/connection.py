"""A connection to a database, for event loops."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

_T = TypeVar("_T")

_ROWS_AT_ONCE: Final = 100
"""Rows that are fetched in one hop: they can be large."""


class Change(NamedTuple):
    """A statement that changes one row, if it is still as it was read."""

    sql: str
    values: tuple[Any, ...]
    size: int
    """Bytes that the row has then."""
    is_needed: bool = True
    """True if the row must be there; False if it may have been inserted by somebody else."""


class Connection(ABC):
    """One connection, used by one thread of its own, so that what was begun is over before it is closed.

    Placeholders in statements are ``%s``. For one task. Use it as a context manager.

    Methods raise ``CoatcheckError`` if the database does not answer, or refuses.
    """

    name: str
    """The database in messages, without its password."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "coatcheck-database")
        self._raw: Any = None

    async def __aenter__(self) -> Self:
        try:
            self._raw = await self._do(self.connect)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed = self._thread.submit(self._raw.close)
        self._thread.shutdown(wait=False)
        if error is None:
            # Whoever interrupts does not wait for a statement: what is not committed is undone.
            await asyncio.wrap_future(closed)

    async def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return await self._do(partial(self._fetched, sql, values))

    async def stream(self, sql: str, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        """Yield the rows of a query, which may be many. No other query may run meanwhile."""
        cursor = await self._do(partial(self.open_cursor, sql, values))
        try:
            while rows := await self._do(partial(cursor.fetchmany, _ROWS_AT_ONCE)):
                for row in rows:
                    yield row
        finally:
            await self._do(partial(self.close_cursor, cursor))

    async def apply(self, changes: Sequence[Change]) -> bool:
        """Make all changes in one transaction, and return True; change nothing if a row is no more as it was read."""
        return await self._do(partial(self._applied, changes))

    @abstractmethod
    def connect(self) -> Any:
        """Return a connection of the driver that commits each statement."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction that writes."""

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any]) -> Any:
        """Execute a statement, and return the driver's cursor."""

    @abstractmethod
    def open_cursor(self, sql: str, values: Sequence[Any]) -> Any:
        """Return a cursor that holds no more than some rows of a query."""

    @abstractmethod
    def close_cursor(self, cursor: Any) -> None:
        """Close a cursor of :meth:`open_cursor`."""

    @abstractmethod
    def explained(self, error: Exception) -> Exception:
        """Return the error to raise for one of the driver's; others as they are."""

    def _fetched(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(self.execute(sql, values).fetchall())

    def _applied(self, changes: Sequence[Change]) -> bool:
        self.begin()
        try:
            for change in changes:
                count = self.execute(change.sql, change.values).rowcount
                if change.is_needed and count != 1:
                    self.execute("ROLLBACK", ())
                    return False
        except BaseException:
            # A connection that is gone has undone it already.
            with suppress(Exception):
                self.execute("ROLLBACK", ())
            raise
        self.execute("COMMIT", ())
        return True

    async def _do(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Exception as error:  # noqa: BLE001 - drivers have a tree of errors each
            raise self.explained(error) from None
