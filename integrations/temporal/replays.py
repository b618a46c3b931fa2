"""Telling the chain which runs are being replayed, so that it asks the store what is there before it writes."""

from collections.abc import Callable
from typing import Any, Final

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from coatcheck.chain import Chain
from coatcheck.scope import Scope

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
            self._chain.replaying(Scope(namespace, workflow_id))

        input.unsafe_extern_functions[_EXTERN] = replaying
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    """In the workflow's sandbox, which reaches the chain by the extern function alone."""

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's signature
        if workflow.unsafe.is_replaying():
            info = workflow.info()
            replaying: Callable[[str, str], None] = workflow.extern_functions()[_EXTERN]
            replaying(info.namespace, info.workflow_id)
        return await super().execute_workflow(input)
