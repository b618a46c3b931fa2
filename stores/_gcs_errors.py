"""What Google Cloud Storage's answers mean in our error tree."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)

_TOO_FAST = {"rateLimitExceeded", "userRateLimitExceeded"}
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_SAID = 300
"""Characters of the service's own message that are passed on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def said(self) -> tuple[str, str]:
        """The reason code and the message of an error; a download's error is plain text without a code."""
        try:
            error = json.loads(self.body)["error"]
            return str(error["errors"][0]["reason"]), str(error["message"])[:_SAID]
        except (ValueError, LookupError, TypeError):
            text = self.body.decode("utf-8", "replace").strip()
            return "", "" if text.startswith(("<", "{")) else text[:_SAID]

    def retry_after(self) -> float | None:
        """Seconds that the service asked to be left alone, if it did."""
        after = self.headers.get("Retry-After", "")
        if after.isdecimal():
            return float(after)
        try:
            until = parsedate_to_datetime(after)
        except ValueError:
            return None
        return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def is_already_there(answer: Answer) -> bool:
    """Whether a create met an object. 412 alone is no proof of one: it is also given for broken organisation policies."""
    return answer.status == HTTPStatus.PRECONDITION_FAILED and answer.said()[0] == "conditionNotMet"


def typed(answer: Answer, bucket: str, key: str) -> CoatcheckError:
    """The error for an answer that is neither a success nor 404."""
    reason, message = answer.said()
    status = answer.status
    said = f"bucket {bucket!r} answers {' '.join(filter(None, (str(status), reason)))}"
    if message:
        said += f": {message.rstrip('. ')}"
    damaged = status == HTTPStatus.BAD_REQUEST and "CRC32C" in message
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR or reason in _TOO_FAST or damaged:
        return StoreUnavailable(said, "Retry after a pause.", key, answer.retry_after())
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return StoreDenied(said, "Check the credentials and the roles that they have on the bucket.", key)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return LimitExceeded(said, "Keep payloads below the service's limit.", key)
    return ConfigError(said, "Check the endpoint, the bucket's settings and the project.", key)


def no_bucket(bucket: str) -> ConfigError:
    """The error for a bucket that is not there."""
    return ConfigError(f"there is no bucket {bucket!r}", "Create it, or correct its name or the endpoint.")


def no_object(bucket: str, key: str) -> PayloadNotFound:
    """The error for an object that is not there."""
    return PayloadNotFound(
        f"there is no such object in bucket {bucket!r}",
        "Restore a version or the soft-deleted object, and check the bucket's lifecycle rules.",
        key,
    )
