"""Scopes that a Temporal server can still reach.

A run is live as long as visibility lists it: while it is open, and after that for the retention of its namespace. All runs
with one workflow ID share a scope, so a reset, a retry, a cron or continue-as-new needs no more than that. The input in a
schedule is in the scope of the tenant, which is never swept.

A schedule hands to each run the result of the last one that succeeded, however long ago that was and whether or not the server
still has it. So while there is a schedule, every scope of its series is live: that of its action's workflow ID, and, if it
was updated since, those of its latest actions' IDs.

A run also refers into the scopes of others: the result of a child workflow is sealed in the child's scope, that of a Nexus
operation in the scope of the workflow that handled it. Those may be gone from the server long before the run that
called them, and visibility does not say so. Therefore the history of every run is read for the workflows that it names, and
for every reference in it. So are the Nexus operations that clients started without a workflow.

The rest needs nothing: activities that clients start without a workflow, and those that are completed by token, belong to
the tenant, as schedules do; the result of an update is in the history of its run; the result of a query is not stored.

Visibility may lag: a run is listed a moment after it began. A scope is deleted only if two sweeps, a grace apart, found
no run of it and nothing was written to it between them, so it is enough that a run is listed less than a grace after it
began (:data:`~coatcheck.retention.rules.MIN_GRACE`). Runs that visibility has lost count as dead: after it was restored or
rebuilt, do not sweep until it is complete.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from temporalio.api.common.v1 import Link, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.nexus.v1 import NexusOperationExecutionListInfo
from temporalio.api.operatorservice.v1 import ListNexusEndpointsRequest
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNexusOperationExecutionRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    GetClusterInfoRequest,
    GetWorkflowExecutionHistoryRequest,
    ListArchivedWorkflowExecutionsRequest,
    ListNamespacesRequest,
    ListNexusOperationExecutionsRequest,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from coatcheck.errors import ConfigError
from coatcheck.integrations.temporal.refusals import engine_errors
from coatcheck.integrations.temporal.scopes import ENGINE, workflow_scope
from coatcheck.retention.live import LiveRuns, Origin, RunTag, Series, run_tags_in
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope

_PAGE: Final = 1000
_SCHEDULES: Final = 100
_NAMESPACES: Final = 100
_HISTORIES_AT_ONCE: Final = 16
_SYSTEM: Final = "temporal-system"
_TODO: Final = "Nothing was deleted. Check the namespaces, and the permissions of the credentials."


class TemporalRuns(LiveRuns):
    """The runs of some namespaces of one server. Reads only; for one task.

    Args:
        client: Client of the server; its namespace and its data converter do not matter: no payload is opened.
        namespaces: All namespaces whose payloads are to be swept, and all whose workflows call theirs by Nexus.
        archived: Also ask visibility's archive for runs whose retention has ended.
        callers_listed: True if ``namespaces`` has all callers of Nexus operations of those that are swept. Otherwise the
            server is asked: a namespace that Nexus endpoints lead to is swept only together with all others of the server.
        no_runs: Namespaces that may be gone from the server: then nothing of theirs is live.
    """

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        *,
        archived: bool = False,
        callers_listed: bool = False,
        no_runs: Collection[str] = (),
    ) -> None:
        self.engine = ENGINE
        self.tenants = tuple(namespaces)
        self._client = client
        self._archived = archived
        self._callers_listed = callers_listed
        self._no_runs = frozenset(no_runs)

    async def origins(self) -> Mapping[str, Origin]:
        """See :meth:`LiveRuns.origins`: the cluster's ID, if the credentials may see it, and the namespaces'.

        Raises:
            EngineError: The server refuses or does not answer, or has no such namespace.
        """
        with engine_errors(_TODO):
            cluster = await self._cluster()
            return {
                namespace: Origin(cluster, await self._id_of(namespace) or "") for namespace in self.tenants
            }

    async def _cluster(self) -> str:
        try:
            info = await self._client.workflow_service.get_cluster_info(GetClusterInfoRequest(), retry=True)
        except RPCError as error:
            if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
                return ""
            raise
        return info.cluster_id

    async def _id_of(self, namespace: str) -> str | None:
        """Return None for a namespace that is gone, if that is allowed."""
        try:
            found = await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=namespace), retry=True
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and namespace in self._no_runs:
                return None
            raise
        return found.namespace_info.id

    async def scopes(self) -> AsyncIterator[Scope | RunTag | Series]:
        """See :meth:`LiveRuns.scopes`: visibility once, each run's history once, and each schedule once.

        Requests that fail for a moment are retried for as long as the SDK does so.

        Raises:
            ConfigError: There may be Nexus callers in namespaces that were not named.
            EngineError: The server refuses or does not answer.
        """
        with engine_errors(_TODO):
            if not self._callers_listed:
                await self._check_callers()
            for namespace in self.tenants:
                if namespace in self._no_runs and await self._id_of(namespace) is None:
                    continue
                async for page in self._runs(namespace):
                    for start in range(0, len(page), _HISTORIES_AT_ONCE):
                        runs = page[start : start + _HISTORIES_AT_ONCE]
                        named = await all_at_once(self._named_by(namespace, run) for run in runs)
                        for scope in {scope for scopes in named for scope in scopes}:
                            yield scope
                async for operation in self._operations(namespace):
                    for scope in await self._linked_by(namespace, operation):
                        yield scope
                async for kept in self._scheduled(namespace):
                    yield kept

    async def _runs(self, namespace: str) -> AsyncIterator[Sequence[WorkflowExecution]]:
        """Yield runs page by page. A run that ends meanwhile moves from the open ones, which come first, to the closed ones."""
        service = self._client.workflow_service
        token = b""
        while True:
            answer = await service.list_workflow_executions(
                ListWorkflowExecutionsRequest(namespace=namespace, page_size=_PAGE, next_page_token=token),
                retry=True,
            )
            yield _executions(answer.executions)
            token = answer.next_page_token
            if not token:
                break
        while self._archived:
            found = await service.list_archived_workflow_executions(
                ListArchivedWorkflowExecutionsRequest(
                    namespace=namespace, page_size=_PAGE, next_page_token=token
                ),
                retry=True,
            )
            yield _executions(found.executions)
            token = found.next_page_token
            if not token:
                break

    async def _named_by(self, namespace: str, run: WorkflowExecution) -> set[Scope | RunTag]:
        """Yield the run's own scope, and those of the workflows and references in its history."""
        found: set[Scope | RunTag] = {workflow_scope(namespace, run.workflow_id)}
        token = b""
        while True:
            try:
                answer = await self._client.workflow_service.get_workflow_execution_history(
                    GetWorkflowExecutionHistoryRequest(
                        namespace=namespace, execution=run, maximum_page_size=_PAGE, next_page_token=token
                    ),
                    retry=True,
                )
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return found  # deleted since it was listed
                raise
            for event in answer.history.events:
                found.update(_named_in(event, namespace, self.tenants))
                found.update(run_tags_in(event.SerializeToString()))
            token = answer.next_page_token
            if not token:
                return found

    async def _scheduled(self, namespace: str) -> AsyncIterator[Scope | Series]:
        """Yield the scopes that any schedule's next run may read, also of schedules that are paused or have long failed."""
        service = self._client.workflow_service
        token = b""
        while True:
            answer = await service.list_schedules(
                ListSchedulesRequest(
                    namespace=namespace, maximum_page_size=_SCHEDULES, next_page_token=token
                ),
                retry=True,
            )
            ids = [entry.schedule_id for entry in answer.schedules]
            for start in range(0, len(ids), _HISTORIES_AT_ONCE):
                some = ids[start : start + _HISTORIES_AT_ONCE]
                for kept in await all_at_once(self._kept_by(namespace, schedule) for schedule in some):
                    for one in kept:
                        yield one
            token = answer.next_page_token
            if not token:
                return

    async def _kept_by(self, namespace: str, schedule: str) -> set[Scope | Series]:
        try:
            answer = await self._client.workflow_service.describe_schedule(
                DescribeScheduleRequest(namespace=namespace, schedule_id=schedule), retry=True
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return set()  # deleted since it was listed
            raise
        kept: set[Scope | Series] = set()
        for run in _runs_of(answer):
            scope = workflow_scope(namespace, run)
            kept.add(scope)
            if scope.series is not None:
                kept.add(Series(namespace, scope.series))
        if name := answer.schedule.action.start_workflow.workflow_id:
            kept.add(Series(namespace, name))
        return kept

    async def _operations(self, namespace: str) -> AsyncIterator[NexusOperationExecutionListInfo]:
        """Yield the scopes of operations that clients started: they are in no workflow's history, and have their own retention."""
        token = b""
        while True:
            try:
                answer = await self._client.workflow_service.list_nexus_operation_executions(
                    ListNexusOperationExecutionsRequest(
                        namespace=namespace, page_size=_PAGE, next_page_token=token
                    ),
                    retry=True,
                )
            except RPCError as error:
                if error.status is RPCStatusCode.UNIMPLEMENTED:
                    return  # an older server, or one where they are switched off: then there are none
                raise
            for operation in answer.operations:
                yield operation
            token = answer.next_page_token
            if not token:
                return

    async def _linked_by(self, namespace: str, operation: NexusOperationExecutionListInfo) -> set[Scope]:
        """Yield the scopes of the workflows that handled it."""
        try:
            answer = await self._client.workflow_service.describe_nexus_operation_execution(
                DescribeNexusOperationExecutionRequest(
                    namespace=namespace, operation_id=operation.operation_id, run_id=operation.run_id
                ),
                retry=True,
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return set()  # deleted since it was listed
            raise
        return set(_scopes(_linked(answer.info.links), namespace, self.tenants))

    async def _check_callers(self) -> None:
        """Check that every namespace that may refer to results of Nexus operations is among those that are read.

        Raises:
            ConfigError: One is not, or the server does not say.
        """
        todo = (
            "Name the callers' namespaces as well, and confirm that all are named (--nexus-callers-listed)."
        )
        try:
            targets = {target async for target in self._nexus_targets()} & set(self.tenants)
            others = {name async for name in self._namespaces()} - set(self.tenants) if targets else set()
        except RPCError as error:
            if error.status not in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
                raise
            raise ConfigError("the server does not list its Nexus endpoints", todo) from None
        if others:
            raise ConfigError(
                f"Nexus endpoints lead to {', '.join(sorted(targets))}, and workflows of {', '.join(sorted(others))} may "
                "refer to their results",
                todo,
            )

    async def _nexus_targets(self) -> AsyncIterator[str]:
        token = b""
        while True:
            answer = await self._client.operator_service.list_nexus_endpoints(
                ListNexusEndpointsRequest(page_size=_NAMESPACES, next_page_token=token), retry=True
            )
            for endpoint in answer.endpoints:
                if endpoint.spec.target.HasField("worker"):
                    yield endpoint.spec.target.worker.namespace
            token = answer.next_page_token
            if not token:
                return

    async def _namespaces(self) -> AsyncIterator[str]:
        token = b""
        while True:
            answer = await self._client.workflow_service.list_namespaces(
                ListNamespacesRequest(page_size=_NAMESPACES, next_page_token=token), retry=True
            )
            for described in answer.namespaces:
                if described.namespace_info.name != _SYSTEM:
                    yield described.namespace_info.name
            token = answer.next_page_token
            if not token:
                return


def _runs_of(schedule: DescribeScheduleResponse) -> Iterator[str]:
    """Return the workflow IDs of a schedule's latest runs."""
    for action in schedule.info.recent_actions:
        yield action.start_workflow_result.workflow_id
    for run in schedule.info.running_workflows:
        yield run.workflow_id


def _executions(infos: Sequence[WorkflowExecutionInfo]) -> list[WorkflowExecution]:
    return [info.execution for info in infos]


def _named_in(event: HistoryEvent, namespace: str, tenants: Collection[str]) -> Iterator[Scope]:
    """Yield the scopes of other workflows whose payloads an event may contain."""
    child = event.start_child_workflow_execution_initiated_event_attributes
    target = event.signal_external_workflow_execution_initiated_event_attributes
    named = [(child.namespace, child.workflow_id), (target.namespace, target.workflow_execution.workflow_id)]
    yield from _scopes([*named, *_linked(event.links)], namespace, tenants)


def _linked(links: Iterable[Link]) -> Iterator[tuple[str, str]]:
    """Yield namespace and ID of each linked workflow: Temporal names the one that handles a Nexus operation by a link."""
    for link in links:
        yield link.workflow_event.namespace, link.workflow_event.workflow_id


def _scopes(
    workflows: Iterable[tuple[str, str]], namespace: str, tenants: Collection[str]
) -> Iterator[Scope]:
    """Yield the scopes that belong to the tenants; one without a namespace belongs to ``namespace``."""
    for where, workflow_id in workflows:
        if workflow_id and (where or namespace) in tenants:
            yield workflow_scope(where or namespace, workflow_id)
