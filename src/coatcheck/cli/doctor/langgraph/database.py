"""A database of checkpoints, opened for reading only."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from coatcheck.doctor.threads import Row
from coatcheck.errors import ConfigError

_EXPECTED: Final = "Give sqlite:///FILE or postgresql://USER@HOST/DATABASE."


@dataclass(frozen=True, slots=True)
class Count:
    """The rows of one thread, namespace and kind."""

    thread: str
    namespace: str
    kind: str
    rows: int
    size: int
    """Bytes."""


class Database(ABC):
    """All reads see the database as it was when it was opened."""

    name: str
    """Its URL, without a password."""

    @abstractmethod
    def file_size(self) -> int:
        """Return the bytes that the database takes for the tables, with indexes."""

    @abstractmethod
    def counts(self) -> list[Count]:
        """Return all rows, counted by the database."""

    @abstractmethod
    def rows(self, thread: str) -> Iterator[Row]:
        """Yield the rows of a thread in the order in which they were written: a checkpoint, then the writes that follow it.

        Raises:
            FormatError: One of them is damaged.
        """


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Open the database that ``url`` names.

    Raises:
        ConfigError: It is no such URL, there is no such database, it refuses, or it has no checkpoints of LangGraph.
    """
    scheme, _, rest = url.partition("://")
    if scheme in {"postgresql", "postgres"}:
        from coatcheck.cli.doctor.langgraph.postgres import opened as opened_postgres  # noqa: PLC0415 - optional

        with opened_postgres(url) as postgres:
            yield postgres
    elif scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from coatcheck.cli.doctor.langgraph.sqlite import opened as opened_sqlite  # noqa: PLC0415 - one of two

        with opened_sqlite(rest[1:]) as sqlite:
            yield sqlite
    else:
        # Not repeated: it may contain a password.
        raise ConfigError("not the URL of a database of checkpoints", _EXPECTED)


def no_checkpoints(name: str) -> ConfigError:
    """Return the error for a database that LangGraph has not set up."""
    return ConfigError(
        f"{name} has no checkpoints of LangGraph", "Name the database that the saver writes to."
    )
