"""Failures under a chain that encrypts: sealed, except for coatcheck's own messages."""

from typing import Final

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverterWithEncodedAttributes, PayloadConverter
from temporalio.exceptions import ApplicationError

from coatcheck.errors import CoatcheckError, KeyDestroyed, readable_error

_SAID_BY_THE_SDK: Final = {"Failed decoding arguments", "Failed decoding heartbeat details"}
"""Messages of the errors that the SDK raises from ours, in activities."""


class ClaimCheckFailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Encodes messages and stack traces, but leaves the messages of coatcheck's own errors readable.

    They contain no payload, and their reader often lacks the key: a worker with a wrong key would encrypt the message that
    says so under that very key. Their stack traces and causes stay in the log of the process.

    Whatever cannot be opened may be mended while Temporal retries, except where the key was destroyed: that is the end of
    an activity, whatever its retry policy.
    """

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Called by the SDK, for failures of workflows inside their sandbox."""
        ours = readable_error(exception)
        wrapped = isinstance(exception, ApplicationError) and exception.message in _SAID_BY_THE_SDK
        if ours is not None:
            failure.message = str(ours)
            failure.application_failure_info.type = type(ours).__name__
        elif wrapped and isinstance(exception.__cause__, CoatcheckError):
            failure.message = str(exception)
            self.to_failure(exception.__cause__, payload_converter, failure.cause)
        else:
            super().to_failure(exception, payload_converter, failure)
            return
        failure.application_failure_info.non_retryable = (
            isinstance(exception, ApplicationError) and exception.non_retryable
        ) or isinstance(ours or exception.__cause__, KeyDestroyed)
