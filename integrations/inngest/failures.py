"""Errors of steps and functions: their messages and stack traces quote what they were about."""

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
    """Return the same error for Inngest, its message sealed and without its stack trace, if the chain encrypts.

    Its name stays in the clear, and whether and when it is retried. So does what coatcheck itself says: it holds no payload, and
    who has to read it is often who lacks the key. What it says is opened again where a function
    catches a ``StepError``, and in ``on_failure``. Errors belong to the tenant: one run hands them to another.

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
    """An error that Inngest takes for the same one, and that says something else."""
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
    """What an error said.

    Raises:
        CoatcheckError: As :meth:`Chain.open`.
    """
    sealed = sealed_in_message(message)
    if sealed is None:
        return unescaped_message(message)
    return str(from_json(await payloads.chain.open(sealed, scope)))


async def open_error(payloads: Payloads, error: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The same for an error as JSON has it.

    Raises:
        CoatcheckError: As :meth:`Chain.open`.
    """
    message = error.get("message")
    if not isinstance(message, str):
        return dict(error)
    said = await open_message(payloads, message, scope)
    return dict(error) if said == message else {**error, "message": said, "stack": None}
