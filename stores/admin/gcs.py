"""Configuration of a Google Cloud Storage bucket, read and changed by Google's own client. Needs what :class:`~coatcheck.GCSStore` needs."""

import asyncio
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from coatcheck.errors import CoatcheckError, ConfigError, StoreDenied, StoreUnavailable
from coatcheck.stores._gcs.endpoint import endpoint_of, is_emulator
from coatcheck.stores.admin.facts import BucketFact, Topic, is_tenant_scope, lifecycle_fact, overlap
from coatcheck.stores.urls import gs_arguments

if TYPE_CHECKING:
    from google.cloud.storage import Bucket  # type: ignore[import-untyped]

SECONDS: Final = 20.0
"""Seconds for one request."""
_FULL_CONTROL: Final = "https://www.googleapis.com/auth/devstorage.full_control"
_ONLY_NONCURRENT = {"daysSinceNoncurrentTime", "noncurrentTimeBefore", "numNewerVersions"}
_NEVER_OURS = {"customTimeBefore", "daysSinceCustomTime"}
"""Conditions on a time that coatcheck's objects do not have."""


async def look(url: str) -> list[BucketFact]:
    """Return versioning, encryption and lifecycle rules of the bucket of a ``gs://`` URL. A failure is a fact, too.

    Raises:
        ConfigError: The URL is malformed.
    """
    return await asyncio.to_thread(_look, gs_arguments(url))


def _look(arguments: Mapping[str, Any]) -> list[BucketFact]:
    try:
        with opened(arguments) as bucket:
            return _facts(bucket, arguments["prefix"])
    except CoatcheckError as error:
        topics: tuple[Topic, ...] = ("versioning", "encryption", "lifecycle")
        return [BucketFact(topic, f"could not look: {error.what}", fine=None) for topic in topics]


@contextmanager
def opened(arguments: Mapping[str, Any]) -> "Iterator[Bucket]":
    """Give the bucket that a ``gs://`` URL names, as it is set up now, with the right to change that.

    What Google's client raises in the block is raised in our terms.

    Raises:
        StoreDenied: The credentials may not do it.
        StoreUnavailable: Google does not answer, or somebody else changed the bucket at the same moment.
        ConfigError: There are no credentials.
    """
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 - optional
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - optional
    from google.cloud.storage import Client  # noqa: PLC0415 - optional
    from requests.exceptions import InvalidJSONError  # noqa: PLC0415 - optional

    from coatcheck.google.identity import GoogleIdentity  # noqa: PLC0415 - optional

    endpoint, project = endpoint_of(arguments.get("endpoint_url")), arguments.get("project")
    bundle, anonymous = arguments.get("ca_bundle"), is_emulator(endpoint)
    identity = GoogleIdentity(None, _FULL_CONTROL, project=project, ca_bundle=bundle, anonymous=anonymous)
    session = identity.session()
    options = {"api_endpoint": endpoint, "universe_domain": session.credentials.universe_domain}
    try:
        with Client(None, session.credentials, _http=session, client_options=options) as client:
            bucket = client.get_bucket(arguments["bucket"], retry=None, timeout=SECONDS)
            said = bucket._properties  # noqa: SLF001 - it takes whatever JSON there comes
            if not isinstance(said, dict) or said.get("kind") != "storage#bucket":
                raise InvalidJSONError  # noqa: TRY301 - as for what is no JSON at all
            yield bucket
            return
    except GoogleAPICallError as error:
        failure = _refusal(error.code)
    except InvalidJSONError:
        failure = StoreUnavailable(
            "something other than Google Cloud Storage answered",
            "Check the endpoint, and what stands in between: a proxy, or a page to sign in at.",
        )
    except (GoogleAuthError, OSError) as error:
        failure = StoreUnavailable(
            f"{endpoint} cannot be reached: {type(error).__name__}",
            "Check the endpoint, ca_bundle and the network.",
        )
    # Out here, without the original: it holds the request with its credentials.
    raise failure


def _refusal(status: int | None) -> CoatcheckError:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return StoreDenied(
            "the credentials lack storage.buckets.get, or storage.buckets.update for a change",
            "Give them a role that has it on the bucket.",
        )
    if status == HTTPStatus.PRECONDITION_FAILED:
        return StoreUnavailable("the bucket was changed by another client at the same moment", "Try again.")
    return StoreUnavailable(f"Google answers {status}", "Look up the status, then retry.")


def rules_in(bucket: "Bucket") -> list[dict[str, Any]]:
    """Return all lifecycle rules of the bucket.

    Raises:
        ConfigError: One is of a kind that google-cloud-storage does not know, and would leave out.
    """
    with warnings.catch_warnings(action="error", category=UserWarning):
        try:
            return [dict(rule) for rule in bucket.lifecycle_rules]
        except UserWarning:
            pass
    raise ConfigError(
        "the bucket has a lifecycle rule that google-cloud-storage does not know",
        "Upgrade that package.",
    )


def _facts(bucket: "Bucket", prefix: str) -> list[BucketFact]:
    key = bucket.default_kms_key_name
    return [
        BucketFact(
            "versioning",
            "on: deleted objects can be restored, and stay until a rule for noncurrent versions removes them"
            if bucket.versioning_enabled
            else "off: deleted objects are gone, unless the bucket has soft delete",
        ),
        BucketFact(
            "encryption",
            f"the bucket encrypts at rest with {f'the key {key}' if key else 'Google-managed keys'}",
        ),
        lifecycle_fact(harmful_rules(rules_in(bucket), prefix)),
    ]


def harmful_rules(rules: Iterable[Mapping[str, Any]], prefix: str) -> list[str]:
    """Return a clause for each rule that deletes current objects below ``prefix``."""
    harmful: list[str] = []
    for rule in rules:
        condition = rule.get("condition", {})
        below = condition.get("matchesPrefix") or [""]
        spares_live = condition.get("isLive") is False or _ONLY_NONCURRENT & condition.keys()
        if (
            rule.get("action", {}).get("type") == "Delete"
            and not spares_live
            and not _NEVER_OURS & condition.keys()
            and any(overlap(one, prefix) and not is_tenant_scope(one) for one in below)
        ):
            age = f" after {condition['age']} days" if "age" in condition else ""
            harmful.append(f"a rule deletes objects below {' or '.join(map(repr, below))}{age}")
    return harmful
