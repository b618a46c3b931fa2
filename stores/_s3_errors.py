"""What S3's answers mean in our error tree."""

from coatcheck.errors import CoatcheckError, ConfigError, PayloadNotFound, StoreDenied, StoreUnavailable
from coatcheck.stores._obstore import Failure

_ALREADY_THERE = {304, 412}
_OTHER_REGION = {"PermanentRedirect", "IllegalLocationConstraintException"}
_DENIED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed"}
_LATER = {307, 408, 409, 425, 429}
_TRY_AGAIN = {"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_CREDENTIALS_OUT_OF_REACH = {
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "HTTPClientError",
    "MetadataRetrievalError",
    "ReadTimeoutError",
}
_SAID = 300
"""Characters of the service's own message that are passed on."""


def is_already_there(failed: Failure) -> bool:
    """Whether a create met an object. 409 is no proof of one: S3 gives it to a create that met a delete."""
    return failed.status in _ALREADY_THERE


def is_other_region(failed: Failure) -> bool:
    """Whether the bucket is in another region than the request was signed for."""
    code = failed.element("Code")
    return (
        code in _OTHER_REGION
        or (code == "AuthorizationHeaderMalformed" and failed.element("Region") != "")
        or failed.status == 301  # noqa: PLR2004 - moved permanently
    )


def other_region(bucket: str, asked: str, right: str) -> ConfigError:
    """The error for a bucket in the region ``right``, of which the one ``asked`` knows nothing."""
    return ConfigError(
        f"bucket {bucket!r} is in {right or 'a region that S3 does not name'}, not in {asked}",
        f"Pass region={right!r}." if right else "Look its region up and pass it.",
    )


def typed(failed: Failure, bucket: str, key: str) -> CoatcheckError:
    """The error for everything but another region."""
    if failed.status == 0:
        return _unanswered(failed, bucket, key)
    code = failed.element("Code")
    if code == "NoSuchBucket":
        return ConfigError(
            f"there is no bucket {bucket!r}", "Create it, or correct its name, the endpoint or the account."
        )
    if failed.status == 404:  # noqa: PLR2004 - not found
        return PayloadNotFound(
            f"there is no such object in bucket {bucket!r}",
            "Restore a version or a replica of it, and check the bucket's lifecycle rules.",
            key,
        )
    kind, todo = _judged(failed.status, code)
    said = failed.element("Message")[:_SAID].rstrip(". ")
    answer = " ".join(filter(None, (str(failed.status), code)))
    return kind(f"bucket {bucket!r} answers {answer}" + (f": {said}" if said else ""), todo, key)


def _judged(status: int, code: str) -> tuple[type[CoatcheckError], str]:
    if code == "RequestTimeTooSkewed":
        return StoreDenied, "Set the clock of this machine."
    if status in {401, 403} or code in _DENIED:
        return StoreDenied, "Check the credentials, whether they have expired, and what their policy allows."
    if status == 501:  # noqa: PLR2004 - not implemented
        return ConfigError, "A service is of use if it has conditional writes and SHA-256 checksums."
    if status in _LATER or status >= 500 or code in _TRY_AGAIN:  # noqa: PLR2004 - the server's errors
        return StoreUnavailable, "Retry after a pause."
    return ConfigError, "Check the endpoint, the bucket's settings and the encryption key."


def _unanswered(failed: Failure, bucket: str, key: str) -> CoatcheckError:
    if failed.raised and failed.raised not in _CREDENTIALS_OUT_OF_REACH:
        return StoreDenied(
            f"no credentials for bucket {bucket!r}: {failed.raised}",
            "Sign in again, or correct the profile or role.",
            key,
        )
    return StoreUnavailable(
        f"bucket {bucket!r} cannot be reached: {failed.raised or failed.reason}",
        "Retry; check the network, the endpoint and the region.",
        key,
    )
