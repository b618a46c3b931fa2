"""Errors of steps and functions, whose messages and stack traces quote payloads."""

from collections.abc import Mapping
from typing import Any

from inngest import NonRetriableError, RetryAfterError, StepError

from coatcheck.errors import readable_error
from coatcheck.integrations.inngest.marker import (
    escaped_message,
    from_json,
    marked_message,
    sealed_in_message,
    to_json,
    unescaped_message,
)
from coatcheck.integrations.inngest.payloads import Payloads
from coatcheck.scope import Scope


async def seal_error(payloads: Payloads, error: Exception) -> Exception:
    """Return the same error for Inngest; if the chain encrypts, with its message sealed and without its stack trace.

    Its name and its retry settings stay in the clear. So do coatcheck's own messages: they contain no payload, and their
    reader often lacks the key. The message is opened again when a function catches a ``StepError``, and in
    ``on_failure``. Errors belong to the tenant: one run hands them to another.

    Raises:
        CoatcheckError: As :meth:`Chain.encode`.
    """
    message = error.message if isinstance(error, StepError) else str(error)
    if payloads.chain.encrypts and readable_error(error) is not None:
        said = escaped_message(message)
    elif payloads.chain.encrypts:
        said = marked_message(await payloads.seal_done(to_json(message), payloads.shared))
    elif (said := escaped_message(message)) == message:
        return error
    if isinstance(error, StepError):
        return StepError(said, error.name, None)
    return _of_same_name(error, said)


def _of_same_name(error: Exception, said: str) -> Exception:
    """Return an error that Inngest treats as the same one, with another message."""
    name = type(error).__name__
    if isinstance(error, RetryAfterError):
        after: type[RetryAfterError] = type(name, (RetryAfterError,), {})
        return after(said, error.retry_after, error.quiet)
    if not getattr(error, "is_retriable", True):
        final: type[NonRetriableError] = type(name, (NonRetriableError,), {})
        return final(said)
    kind: type[Exception] = type(name, (Exception,), {})
    return kind(said)


async def open_message(payloads: Payloads, message: str, scope: Scope) -> str:
    """Return the message of an error, opened.

    Raises:
        CoatcheckError: As :meth:`Chain.open`.
    """
    sealed = sealed_in_message(message)
    if sealed is None:
        return unescaped_message(message)
    return str(from_json(await payloads.chain.open(sealed, scope)))


async def open_error(payloads: Payloads, error: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return an error, given as JSON, with its message opened.

    Raises:
        CoatcheckError: As :meth:`Chain.open`.
    """
    message = error.get("message")
    if not isinstance(message, str):
        return dict(error)
    said = await open_message(payloads, message, scope)
    return dict(error) if said == message else {**error, "message": said, "stack": None}
