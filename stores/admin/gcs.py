"""How a Google Cloud Storage bucket is set up. Needs what :class:`~coatcheck.GCSStore` needs."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from coatcheck.errors import CoatcheckError
from coatcheck.stores._gcs.endpoint import endpoint_of
from coatcheck.stores.admin.facts import BucketFact, Topic, is_tenant_scope, lifecycle_fact, overlap
from coatcheck.stores.urls import gs_arguments

if TYPE_CHECKING:
    from coatcheck.google.client import GCSClient
    from coatcheck.stores._gcs.errors import Answer

_FULL_CONTROL = "https://www.googleapis.com/auth/devstorage.full_control"
_SECONDS = 20.0
_ONLY_NONCURRENT = {"daysSinceNoncurrentTime", "noncurrentTimeBefore", "numNewerVersions"}
_NEVER_OURS = {"customTimeBefore", "daysSinceCustomTime"}
"""Conditions on a time that coatcheck's objects do not have."""


async def look(url: str) -> list[BucketFact]:
    """Versioning, encryption and lifecycle rules of the bucket of a ``gs://`` URL. Whatever fails is a fact, too.

    Raises:
        ConfigError: The URL is malformed.
    """
    arguments = gs_arguments(url)
    try:
        async with opened(arguments) as client:
            answer = await client.ask(
                "GET",
                f"/storage/v1/b/{arguments['bucket']}",
                {"fields": "kind,versioning,encryption,lifecycle"},
                "",
            )
    except CoatcheckError as error:
        return _unknown(f"could not look: {error.what}")
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _unknown("not allowed to look: that takes storage.buckets.get")
    if answer.status != HTTPStatus.OK:
        return _unknown(f"could not look: the service answers {answer.status}")
    bucket = described(answer)
    if bucket is None:
        return _unknown("could not look: something else than Google Cloud Storage answers")
    return facts(bucket, arguments["prefix"])


def described(answer: "Answer") -> Mapping[str, Any] | None:
    """Return what Google says of a bucket; None where it is somebody else who answers."""
    try:
        bucket = json.loads(answer.body)
    except ValueError:
        return None
    return bucket if isinstance(bucket, dict) and bucket.get("kind") == "storage#bucket" else None


@asynccontextmanager
async def opened(arguments: Mapping[str, Any]) -> "AsyncIterator[GCSClient]":
    """A client for what a ``gs://`` URL names, with the right to see and change how the bucket is set up."""
    from coatcheck.google.client import GCSClient  # noqa: PLC0415 - optional

    client = GCSClient(
        endpoint_of(arguments.get("endpoint_url")),
        None,
        arguments.get("project"),
        1,
        _SECONDS,
        scope=_FULL_CONTROL,
        ca_bundle=arguments.get("ca_bundle"),
    )
    try:
        yield client
    finally:
        await client.close()


def facts(bucket: Mapping[str, Any], prefix: str) -> list[BucketFact]:
    """What the service's description of a bucket means for payloads below ``prefix``."""
    versioned = bucket.get("versioning", {}).get("enabled")
    key = bucket.get("encryption", {}).get("defaultKmsKeyName")
    return [
        BucketFact(
            "versioning",
            "on: what is deleted can be restored, and stays until a rule for noncurrent versions removes it"
            if versioned
            else "off: what is deleted is gone, unless the bucket has soft delete",
        ),
        BucketFact(
            "encryption",
            f"the bucket encrypts at rest with {f'the key {key}' if key else 'keys of Google'}",
        ),
        lifecycle_fact(harmful_rules(bucket.get("lifecycle", {}).get("rule", ()), prefix)),
    ]


def harmful_rules(rules: Iterable[Mapping[str, Any]], prefix: str) -> list[str]:
    """A clause for each rule that deletes current objects below ``prefix``."""
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


def _unknown(said: str) -> list[BucketFact]:
    topics: tuple[Topic, ...] = ("versioning", "encryption", "lifecycle")
    return [BucketFact(topic, said, fine=None) for topic in topics]
