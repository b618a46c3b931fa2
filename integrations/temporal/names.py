"""Names of payloads, from Temporal's own, for a chain's rules.

The SDK tells a codec the types of activities, and of a payload of a workflow no more than the workflow's ID. What a client
calls is told here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.converter import (
    ActivitySerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

WORKFLOW: Final = "workflow"
"""The name of all that a workflow itself encodes."""

_called: Final[ContextVar[str]] = ContextVar("coatcheck_called", default="")


def name_in(context: SerializationContext) -> str:
    """Return the name of payloads with this context: ``activity:TYPE``, or ``workflow``; empty for all else."""
    match context:
        case ActivitySerializationContext():
            return f"activity:{context.activity_type or ''}"
        case WorkflowSerializationContext():
            return WORKFLOW
        case _:
            return ""


def name_called() -> str:
    """Return the name of what a client is calling now; empty if it is calling nothing."""
    return _called.get()


@contextmanager
def _calling(name: str) -> Iterator[None]:
    token = _called.set(name)
    try:
        yield
    finally:
        _called.reset(token)


class NameInterceptor(Interceptor):
    """Tells the codec what a client calls. Changes nothing that the client does."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's signature
        """Called by the SDK."""
        return _Outbound(next)


class _Outbound(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - the SDK's signature
        with _calling(f"workflow:{input.workflow}"):
            return await super().start_workflow(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,  # noqa: A002 - the SDK's signature
    ) -> WorkflowUpdateHandle[Any]:
        with _calling(f"workflow:{input.start_workflow_input.workflow}"):
            return await super().start_update_with_start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002 - the SDK's signature
        with _calling(f"signal:{input.signal}"):
            await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:  # noqa: A002 - the SDK's signature
        with _calling(f"query:{input.query}"):
            return await super().query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:  # noqa: A002 - the SDK's signature
        with _calling(f"update:{input.update}"):
            return await super().start_workflow_update(input)
