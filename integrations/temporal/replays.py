"""Telling the chain which runs are being replayed, so that it asks the store what is there before it writes."""

from collections.abc import Callable
from typing import Any, Final

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    SignalExternalWorkflowInput,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from coatcheck.chain import Chain
from coatcheck.integrations.temporal.scopes import workflow_scope

_EXTERN: Final = "coatcheck_replaying"


class ReplayInterceptor(Interceptor):
    """Calls :meth:`Chain.replaying` where a workflow that began in another process is gone through again.

    Changes nothing that the workflow does. Safe for any number of workers.

    Args:
        chain: That of the worker's codec.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """Called by the SDK."""

        def replaying(namespace: str, workflow_id: str) -> None:
            self._chain.replaying(workflow_scope(namespace, workflow_id))

        input.unsafe_extern_functions[_EXTERN] = replaying
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    """In the workflow's sandbox, which reaches the chain by the extern function alone."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's signature
        info = workflow.info()
        _tell(info.namespace, info.workflow_id)
        return await super().execute_workflow(input)


class _Outbound(WorkflowOutboundInterceptor):
    """Children, and those that signals go to, have scopes of their own, which this workflow writes to as well."""

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002 - the SDK's signature
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        _tell(workflow.info().namespace, input.id)
        return await super().start_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:  # noqa: A002 - the SDK's signature
        _tell(input.namespace, input.workflow_id)
        await super().signal_external_workflow(input)


def _tell(namespace: str, workflow_id: str) -> None:
    if workflow.unsafe.is_replaying():
        replaying: Callable[[str, str], None] = workflow.extern_functions()[_EXTERN]
        replaying(namespace, workflow_id)
