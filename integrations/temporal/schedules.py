"""Payloads of schedules belong to no run: the workflows that a schedule starts have IDs that nobody knows yet.

The SDK encodes them as if for the workflow whose ID the schedule's action has, and the server puts a time stamp behind
that ID. While a schedule is being created or updated, the codec therefore seals for the tenant, which every run may open.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from temporalio.client import (
    CreateScheduleInput,
    Interceptor,
    OutboundInterceptor,
    ScheduleHandle,
    UpdateScheduleInput,
)

_scheduling: Final[ContextVar[bool]] = ContextVar("coatcheck_scheduling", default=False)


def is_scheduling() -> bool:
    """Whether what is encoded now is part of a schedule."""
    return _scheduling.get()


class ScheduleInterceptor(Interceptor):
    """Tells the codec that a schedule is being created or updated. Changes nothing that the client does."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's signature
        """Called by the SDK."""
        return _Outbound(next)


class _Outbound(OutboundInterceptor):
    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:  # noqa: A002 - the SDK's signature
        with _marked():
            return await super().create_schedule(input)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:  # noqa: A002 - the SDK's signature
        with _marked():
            await super().update_schedule(input)


@contextmanager
def _marked() -> Iterator[None]:
    token = _scheduling.set(True)
    try:
        yield
    finally:
        _scheduling.reset(token)
