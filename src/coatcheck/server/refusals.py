"""What the server answers when it does not do what it was asked: a status and a fixed sentence, never a detail.

What went wrong with a request says something about keys, stores and settings, so it is told to the operator, in the log,
and not to the caller. Payloads that do not open are answered by :mod:`~coatcheck.server.placeholders`.
"""

from enum import Enum

from coatcheck.errors import CoatcheckError, LimitExceeded, StoreError


class Answer(Enum):
    """Every refusal there is: its status and its sentence."""

    BAD_REQUEST = 400, "The request is not one that this server takes."
    UNDECODABLE = 400, "The payloads cannot be decoded."
    UNAUTHORIZED = 401, "A valid access token is needed."
    FORBIDDEN = 403, "This is not allowed."
    ENCODE_OFF = 403, "This server does not encode: serve.encode is off."
    NOT_FOUND = 404, "There is nothing here."
    METHOD_NOT_ALLOWED = 405, "This takes another method."
    TIMED_OUT = 408, "The request took too long to arrive."
    TOO_LARGE = 413, "The request or its answer is too large."
    UNSUPPORTED = 415, "The body has to be application/json, not compressed."
    FAILED = 500, "The server failed."
    UNAVAILABLE = 503, "The server cannot answer now."

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What the caller reads."""
        return self.value[1]


class Refused(Exception):  # noqa: N818 - it is an answer, not a mistake of ours
    """Ends a request.

    Args:
        answer: What the caller gets.
        reason: For the log. Never holds payload bytes, tokens or what a caller sent.
    """

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(answer, reason)
        self.answer = answer
        self.reason = reason


def refusal_of(error: CoatcheckError) -> Refused:
    """How an error of the chain is answered.

    A missing key, a missing object, and everything forged, damaged or foreign look alike from outside.
    """
    about = f" [object {error.object_id}]" if error.object_id else ""
    reason = f"{type(error).__name__}: {error.what}{about}"
    match error:
        case LimitExceeded():
            return Refused(Answer.TOO_LARGE, reason)
        case StoreError():
            return Refused(Answer.UNAVAILABLE, reason)
        case _:
            return Refused(Answer.UNDECODABLE, reason)
