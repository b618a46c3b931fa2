"""Activities that are completed from elsewhere: by ID, they belong to the named workflow."""

from typing import TypeVar

from temporalio.client import (
    AsyncActivityIDReference,
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    Interceptor,
    OutboundInterceptor,
    ReportCancellationAsyncActivityInput,
)
from temporalio.converter import ActivitySerializationContext, DataConverter

_Input = TypeVar(
    "_Input",
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)


class CompletionInterceptor(Interceptor):
    """Seals what completes an activity by ID for its workflow, as the SDK does for activities that end by themselves.

    A token does not name its workflow: results completed by token are sealed for the tenant.

    Args:
        converter: The client's data converter.
        namespace: The client's namespace.
    """

    def __init__(self, converter: DataConverter, namespace: str) -> None:
        self._converter = converter
        self._namespace = namespace

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's signature
        """Called by the SDK."""
        return _Outbound(next, self)

    def bound(self, given: _Input) -> _Input:
        """Return the input with the converter of the activity's workflow, unless it has one, or names no workflow."""
        named = given.id_or_token
        if (
            isinstance(named, AsyncActivityIDReference)
            and named.workflow_id
            and given.data_converter_override is None
        ):
            given.data_converter_override = self._converter.with_context(
                ActivitySerializationContext(
                    namespace=self._namespace,
                    activity_id=named.activity_id,
                    activity_type=None,
                    activity_task_queue=None,
                    workflow_id=named.workflow_id,
                    workflow_type=None,
                    is_local=False,
                )
            )
        return given


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, completions: CompletionInterceptor) -> None:  # noqa: A002 - the SDK's signature
        super().__init__(next)
        self._bound = completions.bound

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:  # noqa: A002 - the SDK's signature
        await super().heartbeat_async_activity(self._bound(input))

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:  # noqa: A002 - the SDK's signature
        await super().complete_async_activity(self._bound(input))

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:  # noqa: A002 - the SDK's signature
        await super().fail_async_activity(self._bound(input))

    async def report_cancellation_async_activity(
        self,
        input: ReportCancellationAsyncActivityInput,  # noqa: A002 - the SDK's signature
    ) -> None:
        await super().report_cancellation_async_activity(self._bound(input))
