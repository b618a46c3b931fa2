"""Threads of a database, rewritten in place, one after the other."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from coatcheck.errors import ConfigError, FormatError, IntegrityError, LimitExceeded
from coatcheck.integrations.langgraph.database.connection import Change
from coatcheck.integrations.langgraph.database.tables import Tables
from coatcheck.integrations.langgraph.rows import Rows
from coatcheck.runtime.progress import Progress

_ATTEMPTS: Final = 3


@dataclass(slots=True)
class Migrated:
    """The fate of the threads, or what it would be."""

    threads: int = 0
    """Threads that were rewritten."""
    done_before: int = 0
    """Threads in which there was nothing to rewrite."""
    rows: int = 0
    """Rows and checkpoints that were rewritten."""
    before: int = 0
    """Bytes that these had in the database."""
    after: int = 0
    """Bytes that they have there now."""
    left: dict[str, str] = field(default_factory=dict[str, str])
    """Threads that were left as they were, and why."""


class Migration:
    """Rewrites threads so that all their values go through a chain. For one task.

    Of each thread first all values are encoded and durable, then its rows change in one transaction, if they still are as they
    were read: an interruption leaves a thread either as it was, or rewritten. What is rewritten is passed over the next time.

    Args:
        tables: The database.
        rows: Encodes its rows.
        progress: Called in the event loop, often.
    """

    def __init__(self, tables: Tables, rows: Rows, progress: Progress) -> None:
        self._tables = tables
        self._rows = rows
        self._progress = progress
        self._seen = 0

    async def look(self, threads: Sequence[str] = ()) -> Migrated:
        """Return what :meth:`run` would do; ``after`` is 0. Reads only. Arguments and errors are those of :meth:`run`."""
        found = Migrated()
        async for thread in self._threads(threads):
            rows = size = 0
            try:
                async for piece in self._tables.pieces(thread, self._rows):
                    self._tell()
                    rows, size = rows + 1, size + piece.size
            except (FormatError, IntegrityError) as error:
                found.left[thread] = str(error)
                continue
            _count(found, rows, size, 0)
        return found

    async def run(self, threads: Sequence[str] = ()) -> Migrated:
        """Rewrite threads.

        A thread that cannot be read, or that somebody else changes all the time, is left as it is, and the others go on.

        Args:
            threads: Their IDs; all of the database if empty.

        Raises:
            ConfigError: There is no such thread, or none at all; or the chain or the serializer does not fit the rows.
            CoatcheckError: The database, the store or a key service fails. All threads until then are rewritten.
        """
        found = Migrated()
        async for thread in self._threads(threads):
            try:
                if not await self._rewrite(thread, found):
                    found.left[thread] = "somebody else changed it meanwhile. Run it again."
            except (FormatError, IntegrityError, LimitExceeded) as error:
                found.left[thread] = str(error)
        return found

    async def _rewrite(self, thread: str, found: Migrated) -> bool:
        for _ in range(_ATTEMPTS):
            changes: list[Change] = []
            rows = size = 0
            async for piece in self._tables.pieces(thread, self._rows):
                changes += await piece.seal()
                rows, size = rows + 1, size + piece.size
                self._tell()
            if not changes or await self._tables.connection.apply(changes):
                _count(found, rows, size, sum(change.size for change in changes))
                return True
        return False

    async def _threads(self, threads: Sequence[str]) -> AsyncIterator[str]:
        for thread in threads:
            if not await self._tables.has_thread(thread):
                raise ConfigError(
                    f"{self._tables.connection.name} has no thread {thread!r}", "Check the URL and the ID."
                )
        if threads:
            for thread in dict.fromkeys(threads):
                yield thread
            return
        count = 0
        async for thread in self._tables.threads():
            count += 1
            yield thread
        if not count:
            raise ConfigError(f"{self._tables.connection.name} has no threads at all", "Check the URL.")

    def _tell(self) -> None:
        self._seen += 1
        self._progress("rows", self._seen)


def _count(found: Migrated, rows: int, before: int, after: int) -> None:
    if not rows:
        found.done_before += 1
        return
    found.threads += 1
    found.rows += rows
    found.before += before
    found.after += after
