"""Google Cloud Storage's answers as errors of our tree."""

import json
from http import HTTPStatus

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.runtime.http import Answer

_TOO_FAST = {"rateLimitExceeded", "userRateLimitExceeded"}
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_LOCKED = {"objectUnderActiveHold", "objectRetained", "retentionPolicyNotMet"}
_SAID = 300
"""Most characters of the service's own message that are passed on."""


def said(answer: Answer) -> tuple[str, str]:
    """Return the reason code and the message of an error; a download's error is plain text without a code."""
    try:
        error = json.loads(answer.body)["error"]
        return str(error["errors"][0]["reason"]), str(error["message"])[:_SAID]
    except (ValueError, LookupError, TypeError):
        text = answer.body.decode("utf-8", "replace").strip()
        return "", "" if text.startswith(("<", "{")) else text[:_SAID]


def is_already_there(answer: Answer) -> bool:
    """Tell if a create met an object. 412 alone is no proof of one: it is also given for broken organisation policies."""
    return answer.status == HTTPStatus.PRECONDITION_FAILED and said(answer)[0] == "conditionNotMet"


def is_from_google(answer: Answer) -> bool:
    """Tell if an answer bears headers that only Google's servers give, and is no page for people."""
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        return False
    return any(name.lower().startswith(("x-goog-", "x-guploader-")) for name in answer.headers)


def typed(answer: Answer, bucket: str, key: str) -> CoatcheckError:
    """Return the error for an answer that is neither a success nor 404."""
    reason, message = said(answer)
    status = answer.status
    what = f"bucket {bucket!r} answers {' '.join(filter(None, (str(status), reason)))}"
    if message:
        what += f": {message.rstrip('. ')}"
    was_damaged = status == HTTPStatus.BAD_REQUEST and "CRC32C" in message
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR or reason in _TOO_FAST or was_damaged:
        return StoreUnavailable(what, "Retry after a pause.", key, answer.retry_after())
    if reason in _LOCKED:
        todo = "It is locked until its retention or hold ends. Leave it until then."
        return StoreDenied(what, todo, key)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return StoreDenied(what, "Check the credentials and the roles that they have on the bucket.", key)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return LimitExceeded(what, "Keep payloads below the service's limit.", key)
    return ConfigError(what, "Check the endpoint, the bucket's settings and the project.", key)


def foreign(bucket: str, answer: Answer, key: str) -> StoreUnavailable:
    """Return the error for a success that is not Google's, or not about what was asked."""
    return StoreUnavailable(
        f"something other than Google Cloud Storage answered {answer.status} for bucket {bucket!r}",
        "Check the endpoint, and what stands in between: a proxy, or a page to sign in at.",
        key,
    )


def wrong_place(bucket: str, answer: Answer, key: str) -> ConfigError:
    """Return the error for a 404 that is not in Google's words."""
    return ConfigError(
        f"{answer.status} for bucket {bucket!r}, and not in Google's words",
        "Check the endpoint: the server there, or a proxy before it, does not answer as Google Cloud Storage does.",
        key,
    )


def no_bucket(bucket: str) -> ConfigError:
    """Return the error for a bucket that does not exist."""
    return ConfigError(f"there is no bucket {bucket!r}", "Create it, or correct its name or the endpoint.")


def damaged(bucket: str, key: str) -> IntegrityError:
    """Return the error for bytes that are not those that the service says it sent."""
    return IntegrityError(
        f"an object from bucket {bucket!r} was damaged in transit: its CRC32C differs", "Retry.", key
    )


def no_object(bucket: str, key: str) -> PayloadNotFound:
    """Return the error for an object that does not exist."""
    return PayloadNotFound(
        f"there is no such object in bucket {bucket!r}",
        "Restore a version or the soft-deleted object, and check the bucket's lifecycle rules.",
        key,
    )
