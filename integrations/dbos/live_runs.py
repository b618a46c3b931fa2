"""Scopes that DBOS's databases can still reach.

Two things keep a scope: its workflow is in the system database, by name; or a row refers to it. DBOS copies values from row
to row: a fork has the results of another workflow, a parent those of its children, and either may be deleted long before the
other. A reference names its scope by the run tag, so every text of every table is searched for run tags, whatever tables and
columns the database's release of DBOS has.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from coatcheck.errors import ConfigError, EngineError
from coatcheck.integrations.dbos.scopes import ENGINE, workflow_scope
from coatcheck.retention.live import TEXT_MARK, LiveRuns, Origin, RunTag, run_tags_in
from coatcheck.scope import Scope

_STATUS: Final = "workflow_status"
_ID: Final = "workflow_uuid"
_BATCH: Final = 500
"""Rows that are fetched at a time."""


class DBOSRuns(LiveRuns):
    """The scopes of workflows that are in DBOS's databases, and of all that their rows refer to. Reads only; for one task.

    Args:
        databases: URLs, as DBOS has them: of the system database first, of all of them where it is sharded, and of
            application's databases whose transactions use the same serializer.
        tenants: Tenants of the applications: ``ClaimCheckSerializer(chain, tenant=...)``.
        schema: The schema of DBOS's tables in PostgreSQL.
    """

    def __init__(self, databases: Sequence[str], tenants: Sequence[str], *, schema: str = "dbos") -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._databases = tuple(databases)
        self._schema = schema

    async def origins(self) -> Mapping[str, Origin]:
        """See :meth:`LiveRuns.origins`: PostgreSQL's system identifier and the first database's name. SQLite has no IDs.

        Raises:
            CoatcheckError: The first database does not answer, or is not a system database.
        """
        with _opened(self._databases[0], self._schema) as database, _thread() as thread:
            origin = await asyncio.get_running_loop().run_in_executor(thread, database.origin)
        return dict.fromkeys(self.tenants, origin)

    async def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """See :meth:`LiveRuns.scopes`. Names come first: a workflow deleted after that has passed on its values before.

        Raises:
            CoatcheckError: A database does not answer, or has no tables of DBOS.
        """
        for url in self._databases:
            with _opened(url, self._schema) as database:
                async for workflow_id in _in_thread(database.workflow_ids()):
                    for tenant in self.tenants:
                        yield workflow_scope(tenant, workflow_id)
        for url in self._databases:
            with _opened(url, self._schema) as database:
                async for text in _in_thread(database.texts_with_references()):
                    for tag in set(run_tags_in(text.encode())):
                        yield tag


class _Database:
    """One database with tables of DBOS; used in one thread at a time."""

    def __init__(self, engine: sa.Engine, schema: str) -> None:
        self._engine = engine
        self._schema = schema if engine.dialect.name == "postgresql" else None

    def origin(self) -> Origin:
        """Return the identity of a system database."""
        if _STATUS not in {table.name for table in self._tables()}:
            raise ConfigError(
                f"{self._engine.url.render_as_string()} is not a system database of DBOS",
                "Name the system database first, and check its schema: --schema.",
            )
        if self._schema is None:
            return Origin()
        with self._engine.connect() as connection:
            row = connection.execute(
                sa.text("SELECT system_identifier, current_database() FROM pg_control_system()")
            ).one()
        return Origin(str(row[0]), f"{row[1]}/{self._schema}")

    def workflow_ids(self) -> Generator[str, None, None]:
        """Yield the IDs of all workflows; none where there is only the application's own data."""
        for table in self._tables():
            if table.name == _STATUS:
                yield from self._rows(sa.select(table.c[_ID]))

    def texts_with_references(self) -> Generator[str, None, None]:
        """Yield every text that contains a reference."""
        pattern = f"%{TEXT_MARK.decode()}%"
        for table in self._tables():
            for column in table.columns:
                if isinstance(column.type, sa.String):
                    yield from self._rows(sa.select(column).where(sa.cast(column, sa.Text).like(pattern)))

    def _tables(self) -> Sequence[sa.Table]:
        found = sa.MetaData(schema=self._schema)
        found.reflect(self._engine, resolve_fks=False, views=False)
        if not found.tables:
            raise ConfigError(
                f"there are no tables of DBOS in {self._engine.url.render_as_string()}",
                "Check the URL, and the schema: --schema.",
            )
        return list(found.tables.values())

    def _rows(self, query: sa.Select[Any]) -> Generator[str, None, None]:
        with self._engine.connect() as connection:
            yield from connection.execution_options(yield_per=_BATCH).execute(query).scalars()


@contextmanager
def _opened(url: str, schema: str) -> Iterator[_Database]:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername in {"postgresql", "postgres"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(parsed, poolclass=sa.NullPool)
    except (SQLAlchemyError, ImportError):
        raise ConfigError(
            "this is not the URL of a database", "Use postgresql://... or sqlite:///..."
        ) from None
    # SQLite would make it.
    if engine.dialect.name == "sqlite" and not Path(parsed.database or "").is_file():
        raise ConfigError(f"there is no database {parsed.database}", "Check the URL.")
    try:
        yield _Database(engine, schema)
    except SQLAlchemyError as error:
        # Its own message has the query and may have its arguments.
        cause = getattr(error, "orig", None) or error
        raise EngineError(
            f"the database {parsed.render_as_string()} does not answer: {type(cause).__name__}: {cause}",
            "Nothing was deleted. Check the URL, and the rights of its user.",
        ) from None
    finally:
        engine.dispose()


@contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    """One thread: SQLite's connections stay in theirs."""
    with ThreadPoolExecutor(1, "coatcheck-dbos") as thread:
        yield thread


async def _in_thread(rows: Generator[str, None, None]) -> AsyncIterator[str]:
    """Yield what ``rows`` yields, which blocks."""
    loop = asyncio.get_running_loop()
    with _thread() as thread:
        try:
            while batch := await loop.run_in_executor(thread, _batch, rows):
                for row in batch:
                    yield row
        finally:
            thread.submit(rows.close).result()


def _batch(rows: Iterator[str]) -> list[str]:
    return [row for _, row in zip(range(_BATCH), rows, strict=False)]
