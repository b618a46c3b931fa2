"""Short-lived payloads: details of heartbeats, arguments and results of queries.

They are never in the history: the server keeps the last details of a pending activity, and nothing of a query. As objects
they would stay until the run is swept. So they are kept inline if they fit.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.common.v1 import Payload
from temporalio.client import HeartbeatAsyncActivityInput, QueryWorkflowInput
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.client import OutboundInterceptor as ClientOutbound
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from coatcheck.integrations.temporal.sandbox import Notes

INLINE_UP_TO: Final = 64 * 1024
"""Bytes, sealed. The server keeps details of each pending activity of a workflow, in 8 MiB for everything that is pending."""
_SHARE: Final = 4
"""Divisor of the heartbeat's time-out: the wait for details, so that the heartbeat is in time without them."""


@dataclass(slots=True, eq=False)
class Passing:
    """Mark for payloads that are short-lived."""


@dataclass(slots=True, eq=False)
class Heartbeats(Passing):
    """The details of one attempt of an activity."""

    activity: str
    patience: float | None
    """Seconds after which a heartbeat goes without its details; None if the server waits for no heartbeat."""
    sent: Sequence[Payload] = ()
    """The last details that could be encoded."""


_passing: Final[ContextVar[Passing | None]] = ContextVar("coatcheck_passing", default=None)


def passing_now() -> Passing | None:
    """Return the mark of the payloads that are encoded now; None if they are to last."""
    return _passing.get()


@contextmanager
def _marked(passing: Passing) -> Iterator[None]:
    token = _passing.set(passing)
    try:
        yield
    finally:
        _passing.reset(token)


class WorkerInterceptor(Interceptor):
    """Tells the codec of heartbeats, and of workflows' notes. Changes nothing that workflows and activities do.

    Args:
        notes: Those of the codec.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's signature
        """Called by the SDK."""
        return _ActivityInbound(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """Called by the SDK."""
        return self._notes.interceptor_class(input)


class _ActivityInbound(ActivityInboundInterceptor):
    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(_ActivityOutbound(outbound))


class _ActivityOutbound(ActivityOutboundInterceptor):
    def __init__(self, next: ActivityOutboundInterceptor) -> None:  # noqa: A002 - the SDK's signature
        super().__init__(next)
        self._heartbeats: Heartbeats | None = None

    def heartbeat(self, *details: Any) -> None:
        if self._heartbeats is None:
            info = self.info()
            timeout = info.heartbeat_timeout
            self._heartbeats = Heartbeats(
                info.activity_id, timeout.total_seconds() / _SHARE if timeout else None
            )
        # The SDK encodes them in a task of its own, which inherits this.
        with _marked(self._heartbeats):
            super().heartbeat(*details)


class PassingInterceptor(ClientInterceptor):
    """Tells the codec of queries, and of heartbeats for activities that are completed from elsewhere."""

    def intercept_client(self, next: ClientOutbound) -> ClientOutbound:  # noqa: A002 - the SDK's signature
        """Called by the SDK."""
        return _ClientOutbound(next)


class _ClientOutbound(ClientOutbound):
    async def query_workflow(self, input: QueryWorkflowInput) -> Any:  # noqa: A002 - the SDK's signature
        with _marked(Passing()):
            return await super().query_workflow(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:  # noqa: A002 - the SDK's signature
        with _marked(Passing()):
            await super().heartbeat_async_activity(input)
