"""Scopes that a Restate server can still reach.

Two things keep a scope: its own invocation, object or workflow exists, by name; or a value refers to it. Values pass
from one invocation to another unchanged: the input of a delayed call is sealed in the scope of its caller, a result in
that of its callee, and either may be gone from the server long before the invocation that has the value. A reference
names its scope by the run tag, so every value that the server shows is searched for run tags.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from coatcheck.integrations.restate.admin import Admin
from coatcheck.integrations.restate.scopes import ENGINE, keyed_scope
from coatcheck.retention.live import MARK, TEXT_MARK, LiveRuns, Origin, RunTag, run_tags_in
from coatcheck.scope import Scope

_INVOCATIONS: Final = (
    "SELECT id, scope, target_service_name AS service, target_service_key AS key, status, invoked_by_id, invoked_by_target "
    "FROM sys_invocation_status"
)
_ANYTHING: Final = "SELECT id FROM sys_invocation_status LIMIT 1"
_COMPLETED: Final = "completed"
_KEYED: Final = (
    "SELECT scope, service_name AS service, service_key AS key FROM state",
    "SELECT scope, service_name AS service, service_key AS key FROM sys_promise",
)
_VALUES: Final = (
    ("sys_journal", "raw"),
    ("state", "value"),
    ("sys_promise", "completion_success_value"),
)


class RestateRuns(LiveRuns):
    """The scopes of one server: of invocations until they are purged, of state and of promises. Reads only; for one task.

    Args:
        admin: URL of its admin API.
        tenants: Tenants of its services: ``ClaimCheck(chain, tenant=...)``.
        token: Sent as bearer token, if given.
    """

    def __init__(self, admin: str, tenants: Sequence[str], *, token: str | None = None) -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._admin = admin
        self._token = token

    async def origins(self) -> Mapping[str, Origin]:
        """See :meth:`LiveRuns.origins`: the cluster's name, since Restate has no IDs of clusters.

        Raises:
            EngineError: The server refuses a query, or does not answer.
        """
        async with Admin(self._admin, self._token) as admin:
            async for _ in admin.rows(_ANYTHING):
                pass
            cluster = await admin.cluster()
        return {tenant: Origin(cluster) for tenant in self.tenants}

    async def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """See :meth:`LiveRuns.scopes`. Names come first: an invocation purged after that has passed on its values before.

        Raises:
            EngineError: The server refuses or does not answer.
        """
        async with Admin(self._admin, self._token) as admin:
            async for row in admin.rows(_INVOCATIONS):
                for tenant in self.tenants:
                    for scope in _of_invocation(tenant, row):
                        yield scope
            for query in _KEYED:
                async for row in admin.rows(query):
                    for tenant in self.tenants:
                        yield keyed_scope(tenant, row["service"], row["key"], row.get("scope"))
            for table, column in _VALUES:
                async for row in admin.rows(_with_references(table, column)):
                    for tag in set(run_tags_in(bytes.fromhex(row["value"]))):
                        yield tag


def _of_invocation(tenant: str, row: dict[str, Any]) -> Iterator[Scope]:
    """Return the scope that the invocation writes in, and until it has ended that of its input."""
    if key := row.get("key"):
        yield keyed_scope(tenant, row["service"], key, row.get("scope"))
    else:
        yield Scope(tenant, row["id"], engine=ENGINE)
    if row["status"] == _COMPLETED or "invoked_by_id" not in row:
        return
    # What servers before 1.7 had not begun stays without a journal, also after an upgrade: its input is not shown.
    yield Scope(tenant, row["invoked_by_id"], engine=ENGINE)
    service, _, rest = row["invoked_by_target"].partition("/")
    if key := rest.rpartition("/")[0]:
        yield keyed_scope(tenant, service, key)


def _with_references(table: str, column: str) -> str:
    """Query for the values that contain a reference; the server leaves out all others."""
    # Not of anybody's making: names from above, and hexadecimal digits.
    there = " OR ".join(f"encode({column}, 'hex') LIKE '%{mark.hex()}%'" for mark in (MARK, TEXT_MARK))
    return f"SELECT {column} AS value FROM {table} WHERE {there}"  # noqa: S608
