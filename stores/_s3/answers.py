"""The meaning of S3's answers, and which of them can only be S3's."""

import re
from hashlib import md5
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.runtime.http import Answer

_OTHER_REGION: Final = {
    "PermanentRedirect",
    "IllegalLocationConstraintException",
    "AuthorizationHeaderMalformed",
}
_DENIED: Final = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed"}
_REFUSED_KEYS: Final = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_LATER: Final = {408, 409, 425, 429}
_TRY_AGAIN: Final = {
    "BadDigest",
    "BandwidthLimitExceeded",
    "IncompleteBody",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "SlowDown",
    "TemporaryRedirect",
    "Throttling",
    "ThrottlingException",
    "KMS.ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
    "XAmzContentSHA256Mismatch",
}
_TOO_LARGE: Final = {"EntityTooLarge", "MaxMessageLengthExceeded"}
_OF_USE: Final = "Use a service that has conditional writes and SHA-256 checksums."
_MAYBE_LOCKED: Final = {"AccessDenied", "InvalidRequest", "MethodNotAllowed", "ObjectLocked"}
_LOCKED: Final = re.compile(r"object.?lock|\bWORM\b|legal hold|retention", re.IGNORECASE)
_SAID: Final = 300
"""Most characters of the service's own message that are passed on."""


def element(answer: Answer, name: str) -> str:
    """Return the text of the first element ``name`` of an error of S3; empty if it has none, or is no such error."""
    if b"<Error" not in answer.body:
        return ""
    found = re.search(rf"<{name}>([^<]*)</{name}>", answer.body.decode("utf-8", "replace"))
    return found[1] if found else ""


def is_written(answer: Answer, data: bytes, checksum: str) -> bool:
    """Tell if a PUT of ``data`` was done: a success with the checksum sent, or else the ETag of just these bytes.

    S3 keeps what it verified, so a checksum of another object is no success.
    """
    if answer.status != HTTPStatus.OK or "ETag" not in answer.headers:
        return False
    echoed = answer.headers.get("x-amz-checksum-sha256")
    if echoed is not None:
        return echoed == checksum
    return is_from_s3(answer) or _is_md5(answer, data)


def is_read(answer: Answer) -> bool:
    """Tell if a GET gave an object: a success with S3's own headers, or else with the ETag of just these bytes."""
    if answer.status != HTTPStatus.OK or "ETag" not in answer.headers:
        return False
    return is_from_s3(answer) or _is_md5(answer, answer.body)


def is_deleted(answer: Answer) -> bool | None:
    """Tell if a DELETE was done; None where the answer is a success that anybody could have given."""
    if is_no_such_key(answer):
        return True
    if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        return False
    return True if is_from_s3(answer) else None


def is_no_such_key(answer: Answer) -> bool:
    """Tell if S3 says that there is no such object."""
    return answer.status == HTTPStatus.NOT_FOUND and element(answer, "Code") in {"NoSuchKey", "NoSuchVersion"}


def is_already_there(answer: Answer) -> bool:
    """Tell if a create met an object. 409 is no proof of one: S3 gives it to a create that met a delete."""
    return answer.status == HTTPStatus.PRECONDITION_FAILED and element(answer, "Code") == "PreconditionFailed"


def is_refused_key(answer: Answer) -> bool:
    """Tell if other credentials may be taken where these were not."""
    return (
        answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        and element(answer, "Code") in _REFUSED_KEYS
    )


def is_from_s3(answer: Answer) -> bool:
    """Tell if an answer bears headers that only S3 gives, and is no page for people."""
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        return False
    return any(name.lower().startswith("x-amz-") for name in answer.headers)


def foreign(bucket: str, answer: Answer, key: str) -> StoreUnavailable:
    """Return the error for a success that is not S3's."""
    return StoreUnavailable(
        f"something other than S3 answered {answer.status} for bucket {bucket!r}",
        "Check the endpoint, and what stands in between: a proxy, or a page to sign in at.",
        key,
    )


def typed(answer: Answer, bucket: str, region: str, key: str) -> CoatcheckError:
    """Return the error for an answer that is no success. A missing object is one only in S3's own words."""
    code = element(answer, "Code")
    if code in _OTHER_REGION or "x-amz-bucket-region" in answer.headers:
        right = element(answer, "Region") or answer.headers.get("x-amz-bucket-region", "")
        if (code in _OTHER_REGION or answer.status == HTTPStatus.MOVED_PERMANENTLY) and right not in {
            "",
            region,
        }:
            return _other_region(bucket, region, right)
        if code in {"PermanentRedirect", "IllegalLocationConstraintException"}:
            return _other_region(bucket, region, "")
    if code == "NoSuchBucket":
        return ConfigError(
            f"there is no bucket {bucket!r}", "Create it, or correct its name, the endpoint or the account."
        )
    if is_no_such_key(answer):
        return PayloadNotFound(
            f"there is no such object in bucket {bucket!r}",
            "Restore a version or a replica of it, and check the bucket's lifecycle rules.",
            key,
        )
    said = element(answer, "Message")[:_SAID].rstrip(". ")
    what = f"bucket {bucket!r} answers {' '.join(filter(None, (str(answer.status), code)))}"
    if said:
        what += f": {said}"
    if code == "" and not is_from_s3(answer) and not _is_late(answer.status):
        return _not_s3(answer, what, key)
    return judged(answer.status, code, said, what=what, key=key, retry_after=answer.retry_after())


def judged(
    status: int, code: str, said: str, *, what: str, key: str = "", retry_after: float | None = None
) -> CoatcheckError:
    """Return the error for a refusal in S3's own words.

    Args:
        status: HTTP status.
        code: S3's error code.
        said: S3's message.
        what: Text that says what happened.
        key: The object's key.
        retry_after: Seconds that S3 asked for.
    """
    locked = is_locked(code, said)
    late = _is_late(status) or code in _TRY_AGAIN
    denied = status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or code in _DENIED
    too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or code in _TOO_LARGE
    judgements: tuple[tuple[bool, type[CoatcheckError], str], ...] = (
        (code == "RequestTimeTooSkewed", StoreDenied, "Set the clock of this machine."),
        (locked, StoreDenied, "It is locked until its retention or legal hold ends. Leave it until then."),
        (
            denied,
            StoreDenied,
            "Check the credentials, whether they have expired, and what their policy allows.",
        ),
        (
            too_large,
            LimitExceeded,
            "Keep payloads below the limit of the service, and of any proxy before it.",
        ),
        (status == HTTPStatus.NOT_IMPLEMENTED, ConfigError, _OF_USE),
        (not late, ConfigError, "Check the endpoint, the bucket's settings and the encryption key."),
    )
    for applies, kind, todo in judgements:
        if applies:
            return kind(what, todo, key)
    return StoreUnavailable(what, "Retry after a pause.", key, retry_after)


def is_locked(code: str, said: str) -> bool:
    """Tell if an object was not deleted or replaced because of a lock, not because anybody lacks a permission."""
    return code in _MAYBE_LOCKED and _LOCKED.search(said) is not None


def _not_s3(answer: Answer, what: str, key: str) -> CoatcheckError:
    """Return the error for an answer that is not in S3's words: something else gave it."""
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        target = urlsplit(answer.headers.get("Location", ""))
        where = f" to {target.scheme}://{target.hostname}" if target.hostname else ""
        return ConfigError(
            f"{what}, a redirect{where}, which is not followed",
            "Check the endpoint, and what stands in between: a proxy, or a page to sign in at.",
            key,
        )
    what += ", and not in S3's words"
    if answer.status in {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    }:
        return StoreDenied(what, "Check the endpoint, and whether a proxy or a firewall refuses it.", key)
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return LimitExceeded(
            what, "Keep payloads below the limit of the service, and of any proxy before it.", key
        )
    return ConfigError(
        what, "Check the endpoint: the server there, or a proxy before it, does not answer as S3 does.", key
    )


def _is_late(status: int) -> bool:
    """Tell if the same request may succeed later, whoever says so."""
    return status in _LATER or (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
    )


def _other_region(bucket: str, asked: str, right: str) -> ConfigError:
    return ConfigError(
        f"bucket {bucket!r} is in {right or 'another region, which S3 does not name'}, not in {asked}",
        f"Pass region={right!r}." if right else "Look up its region and pass it.",
    )


def _is_md5(answer: Answer, data: bytes) -> bool:
    """Tell if the ETag is that of S3 for ``data``, where it does not encrypt it with a key of KMS."""
    return answer.headers.get("ETag", "").strip('"') == md5(data, usedforsecurity=False).hexdigest()
