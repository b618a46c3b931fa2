"""Refusals of a Temporal server, in our terms."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from temporalio.service import RPCError, RPCStatusCode

from coatcheck.errors import EngineError

_LATER: Final = frozenset(
    {
        RPCStatusCode.ABORTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.DATA_LOSS,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.UNKNOWN,
    }
)
"""Statuses of a server that is away, overloaded or at fault; with all others it refuses what it was asked."""


@contextmanager
def engine_errors(todo: str) -> Iterator[None]:
    """Raise the server's errors in the block as ours.

    Args:
        todo: The remedy if the server refuses.

    Raises:
        EngineError: The server refuses; or, retryable, it is away, overloaded or at fault.
    """
    try:
        yield
    except RPCError as error:
        later = error.status in _LATER
        raise EngineError(
            f"the Temporal server says {error.status.name.lower().replace('_', ' ')}: {error.message}",
            f"Retry. {todo}" if later else todo,
            retryable=later,
        ) from None
