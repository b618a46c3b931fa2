"""Refusals of requests: a status and a fixed sentence, never a detail.

The cause of a failure reveals facts about keys, stores and settings. So it is logged for the operator, and not told to the
caller. Payloads that cannot be decoded are answered by :mod:`~coatcheck.server.placeholders`.
"""

from enum import Enum

from coatcheck.errors import CoatcheckError, LimitExceeded, StoreError


class Refusal(Enum):
    """A refusal: its status and its sentence."""

    BAD_REQUEST = 400, "The request is malformed."
    UNDECODABLE = 400, "The payloads cannot be decoded."
    UNAUTHORIZED = 401, "A valid access token is required."
    FORBIDDEN = 403, "This is not allowed."
    ENCODE_OFF = 403, "This server does not encode: serve.encode is off."
    NOT_FOUND = 404, "There is nothing at this path."
    METHOD_NOT_ALLOWED = 405, "Use another method for this path."
    TIMED_OUT = 408, "The request took too long to arrive."
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
    """

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(refusal, reason)
        self.refusal = refusal
        self.reason = reason


def refusal_of(error: CoatcheckError) -> Refused:
    """Return the refusal for an error of the chain.

    To the caller a missing key, a missing object, and forged, damaged or foreign payloads look the same.
    """
    about = f" [object {error.object_id}]" if error.object_id else ""
    reason = f"{type(error).__name__}: {error.what}{about}"
    match error:
        case LimitExceeded():
            return Refused(Refusal.TOO_LARGE, reason)
        case StoreError():
            return Refused(Refusal.UNAVAILABLE, reason)
        case _:
            return Refused(Refusal.UNDECODABLE, reason)
