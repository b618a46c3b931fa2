"""A Nexus service whose operations give back what they are given."""

import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from temporalio import nexus
from temporalio.exceptions import ApplicationError

from tests.integrations.temporal.paths.values import CANARY


@nexusrpc.service
class Mirror:
    """At once, by a workflow, or with a failure at once or of the workflow."""

    at_once: nexusrpc.Operation[str, str]
    by_workflow: nexusrpc.Operation[str, str]
    fail_at_once: nexusrpc.Operation[str, str]
    fail_by_workflow: nexusrpc.Operation[str, str]


@service_handler(service=Mirror)
class MirrorHandler:
    @sync_operation
    async def at_once(self, context: StartOperationContext, data: str) -> str:
        return data

    @nexus.workflow_run_operation
    async def by_workflow(
        self, context: nexus.WorkflowRunOperationContext, data: str
    ) -> nexus.WorkflowHandle[str]:
        return await context.start_workflow("Echo", data, id=f"Mirror-{context.request_id}", result_type=str)

    @sync_operation
    async def fail_at_once(self, context: StartOperationContext, data: str) -> str:
        failure = ApplicationError(f"{CANARY} in a message", data, non_retryable=True)
        raise nexusrpc.OperationError(
            f"{CANARY} in a message", state=nexusrpc.OperationErrorState.FAILED
        ) from failure

    @nexus.workflow_run_operation
    async def fail_by_workflow(
        self, context: nexus.WorkflowRunOperationContext, data: str
    ) -> nexus.WorkflowHandle[str]:
        return await context.start_workflow("Fail", data, id=f"Mirror-{context.request_id}", result_type=str)
