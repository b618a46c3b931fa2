"""Refusals of requests: a status and a fixed sentence, never a detail.

The cause of a failure reveals facts about keys, stores and settings. So it is logged for the operator, and not told to the
caller. Payloads that cannot be decoded are answered by :mod:`~coatcheck.server.placeholders`.
"""

import math
from enum import Enum
from typing import Final

from coatcheck.errors import (
    CoatcheckError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    LimitExceeded,
    StoreError,
    is_outage,
)

_PAUSE: Final = 5
"""Seconds after which a caller may try again, where no service asked for more."""


class Refusal(Enum):
    """A refusal: its status and its sentence."""

    BAD_REQUEST = 400, "The request is malformed."
    UNDECODABLE = 400, "The payloads cannot be decoded."
    NO_KEY = 400, "The server does not have the key."
    UNAUTHORIZED = 401, "A valid access token is required."
    FORBIDDEN = 403, "This is not allowed."
    ENCODE_OFF = 403, "This server does not encode: serve.encode is off."
    NOT_FOUND = 404, "There is nothing at this path."
    METHOD_NOT_ALLOWED = 405, "Use another method for this path."
    TIMED_OUT = 408, "The request took too long to arrive."
    KEY_DESTROYED = 410, "The key was destroyed: what was sealed under it is gone for good."
    TOO_LARGE = 413, "The request or its answer is too large."
    UNSUPPORTED = 415, "The body must be application/json, not compressed."
    FAILED = 500, "The server failed."
    UNAVAILABLE = 503, "The server cannot answer now."

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """The sentence for the caller."""
        return self.value[1]


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """An exception that ends a request.

    Args:
        refusal: The answer to the caller.
        reason: The reason for the log. Never contains payload bytes, tokens or text sent by a caller.
        key: Id of the key that the refusal is about, in hexadecimal, for the caller; empty if there is none.
        retry_after: Seconds after which the caller may try again, if the refusal is ``UNAVAILABLE``.
    """

    def __init__(
        self, refusal: Refusal, reason: str, *, key: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(refusal, reason)
        self.refusal = refusal
        self.reason = reason
        self.key = key
        self.retry_after = _PAUSE if retry_after is None else math.ceil(retry_after)


def refusal_of(error: CoatcheckError, key: str = "") -> Refused:
    """Return the refusal for an error of the chain.

    To the caller a missing object and forged, damaged or foreign payloads look the same. That a key is missing or was
    destroyed is told, as placeholders tell it.

    Args:
        error: The error.
        key: Id of the key that the payload names, in hexadecimal; empty if it names none.
    """
    about = f" [object {error.object_id}]" if error.object_id else ""
    reason = f"{type(error).__name__}: {error.what}{about}"
    match error:
        case LimitExceeded():
            return Refused(Refusal.TOO_LARGE, reason)
        case _ if is_outage(error):
            return Refused(Refusal.UNAVAILABLE, reason, retry_after=getattr(error, "retry_after", None))
        case StoreError() | KeyServiceError():
            return Refused(Refusal.FAILED, reason)
        case KeyDestroyed():
            return Refused(Refusal.KEY_DESTROYED, reason, key=key)
        case KeyUnavailable():
            return Refused(Refusal.NO_KEY, reason, key=key)
        case _:
            return Refused(Refusal.UNDECODABLE, reason)
