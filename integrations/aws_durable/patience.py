"""The end of retries: the SDK's service retries an invocation that fails by a retryable error for as long as it runs.

It says neither how often it did, nor since when. But each checkpoint has its time, and an execution that is only retried gets
no new one: so the time since the latest is the time for which it has been stuck.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from aws_durable_execution_sdk_python.exceptions import RetryableSerDesError, SerDesError
from aws_durable_execution_sdk_python.lambda_service import Operation

from coatcheck.errors import CoatcheckError


class Patience:
    """The bound on retries of one execution.

    Args:
        most: Time for which an execution may be stuck.
        operations: Returns the execution's operations as they are now.
    """

    def __init__(self, most: timedelta, operations: Callable[[], Mapping[str, Operation]] = dict) -> None:
        self._most = most.total_seconds()
        self._operations = operations

    def sdk_error(self, error: CoatcheckError) -> RetryableSerDesError | SerDesError:
        """Return the SDK's error for one of ours: retryable if another invocation can succeed, and is not too late."""
        message = f"{type(error).__name__}: {error}"
        if not error.retryable:
            return SerDesError(message)
        stuck = self._stuck()
        if stuck is None or stuck <= self._most:
            return RetryableSerDesError(message)
        return SerDesError(f"{message} The execution has made no progress for {stuck:.0f} seconds, and ends.")

    def _stuck(self) -> float | None:
        """Return the seconds since the latest checkpoint; None if there is none yet."""
        now = time.time()
        times = [
            moment.timestamp()
            for operation in self._operations().values()
            for moment in (
                operation.start_timestamp,
                operation.end_timestamp,
                operation.step_details and operation.step_details.next_attempt_timestamp,
            )
            if moment
        ]
        past = [moment for moment in times if moment <= now]
        return now - max(past) if past else None
