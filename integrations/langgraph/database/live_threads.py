"""The threads of a database, for a sweep, and the scopes that each refers to."""

from collections.abc import AsyncIterator, Mapping, Sequence

from coatcheck.integrations.langgraph.database.tables import Tables
from coatcheck.integrations.langgraph.scopes import ENGINE, thread_scope
from coatcheck.retention.live import LiveRuns, Origin, RunTag, run_tags_in
from coatcheck.scope import Scope


class DatabaseThreads(LiveRuns):
    """The scopes of the threads in a database of LangGraph's own savers. Reads only; for one task.

    Threads are known by their rows, also by writes whose checkpoint is not there, and a copy of a thread by the references
    in its values.

    Args:
        tables: The database.
        tenants: The tenants of the threads: ``ClaimCheckSaver(saver, chain, tenant=...)``.
    """

    def __init__(self, tables: Tables, tenants: Sequence[str]) -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._tables = tables

    async def origins(self) -> Mapping[str, Origin]:
        """See :meth:`LiveRuns.origins`.

        Raises:
            CoatcheckError: The database does not answer, or is none of LangGraph's savers.
        """
        origin = await self._tables.origin()
        return dict.fromkeys(self.tenants, origin)

    async def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """See :meth:`LiveRuns.scopes`.

        Raises:
            CoatcheckError: The database does not answer, or it is not known where references stand in its values.
        """
        async for thread in self._tables.threads():
            for tenant in self.tenants:
                yield thread_scope(tenant, thread)
        async for data in self._tables.references():
            for tag in set(run_tags_in(data)):
                yield tag
