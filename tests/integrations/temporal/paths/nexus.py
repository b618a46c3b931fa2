"""Operations of a Nexus service, in the same namespace and in another one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest, RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.path import END, Handles, PayloadPath
from tests.integrations.temporal.paths.site import Site
from tests.integrations.temporal.paths.values import large

_INPUT = {"WorkflowExecutionStarted input[2]", "NexusOperationScheduled input"}
_OUTPUT = {"NexusOperationCompleted result", END}


async def new_endpoint(client: Client, namespace: str, queue: str) -> str:
    """The name of an endpoint that leads to the workers of a task queue."""
    target = EndpointTarget(worker=EndpointTarget.Worker(namespace=namespace, task_queue=queue))
    spec = EndpointSpec(name=f"paths-{uuid4()}", target=target)
    await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    return spec.name


async def new_namespace(server: TemporalServer) -> TemporalServer:
    """The same server with a namespace of its own, which it takes up to a second to know everywhere."""
    service = (await Client.connect(server.address)).workflow_service
    new = TemporalServer(server.address, f"paths-{uuid4()}")
    await service.register_namespace(
        RegisterNamespaceRequest(
            namespace=new.namespace, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    async with asyncio.timeout(30):
        while True:
            try:
                await service.count_workflow_executions(
                    CountWorkflowExecutionsRequest(namespace=new.namespace)
                )
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(0.05)
            else:
                return new


def _calls(operation: str) -> Callable[[Site], Awaitable[Handles]]:
    async def walk(site: Site) -> Handles:
        endpoint = await new_endpoint(site.plain, site.client.namespace, site.queue)
        return [await call(site, endpoint, operation)]

    return walk


async def call(site: Site, endpoint: str, operation: str) -> WorkflowHandle[Any, Any]:
    """A workflow that had the operation give back something large."""
    data = large(operation)
    handle = await site.start(flows.Call.run, endpoint, operation, data)
    assert await handle.result() == data
    return handle


async def refusal(site: Site, handle: WorkflowHandle[Any, Any]) -> Failure:
    """Why the last attempt of the workflow's operation failed, as the server has it; it sends no event."""
    async with asyncio.timeout(60):
        while True:
            described = await site.plain.get_workflow_handle(handle.id).describe()
            for pending in described.raw_description.pending_nexus_operations:
                if pending.HasField("last_attempt_failure"):
                    return pending.last_attempt_failure
            await asyncio.sleep(0.05)


def messages(error: BaseException | None) -> Iterator[str]:
    """Of an error and its causes."""
    while error is not None:
        yield str(error)
        error = error.__cause__


# A cold replay offers the operation's input once more: it is in the tenant scope, which is no run that could be listed
# before writing.
NEXUS = [
    PayloadPath("Nexus operation that ends at once", _calls("at_once"), {*_INPUT, *_OUTPUT}, offers=1),
    PayloadPath("Nexus operation by a workflow", _calls("by_workflow"), {*_INPUT, *_OUTPUT}, offers=1),
    PayloadPath(
        "Nexus operation that fails at once",
        _calls("fail_at_once"),
        {*_INPUT, "NexusOperationFailed failure.cause.cause.application_failure_info.details", END},
        offers=1,
    ),
    PayloadPath(
        "Nexus operation whose workflow fails",
        _calls("fail_by_workflow"),
        {*_INPUT, "NexusOperationFailed failure.cause.application_failure_info.details", END},
        offers=1,
    ),
]
