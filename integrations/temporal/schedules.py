"""Payloads of schedules, which belong to no run: the IDs of the workflows that a schedule starts are not known yet.

The SDK encodes them for the workflow ID of the schedule's action, and the server appends a time stamp to that ID. While a
schedule is being created or updated, the codec therefore seals for the tenant, which every run may open.
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
    """Tell if the payloads encoded now are part of a schedule."""
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
