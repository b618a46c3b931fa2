"""Lifecycle rules of a Google Cloud Storage bucket. Needs what :class:`~coatcheck.GCSStore` needs."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from coatcheck.contracts.store import ExpiryRule
from coatcheck.errors import StoreDenied, StoreUnavailable
from coatcheck.stores.admin.facts import is_tenant_scope
from coatcheck.stores.admin.gcs import described, harmful_rules, opened
from coatcheck.stores.urls import gs_arguments


def rules_of(url: str, rules: Sequence[ExpiryRule]) -> list[Any]:
    """The rules as Google takes them.

    Raises:
        ConfigError: The URL is malformed, as for the other functions.
    """
    folder = _folder(gs_arguments(url))
    return [
        {
            "action": {"type": "Delete"},
            "condition": {
                "daysSinceNoncurrentTime" if rule.noncurrent else "age": rule.days,
                **({"matchesPrefix": [folder + rule.prefix]} if folder + rule.prefix else {}),
            },
        }
        for rule in rules
    ]


async def harmful(url: str) -> list[str]:
    """A clause for each rule of the bucket that takes current objects out of reach.

    Raises:
        StoreDenied: The credentials may not ask.
        StoreUnavailable: Google does not answer.
    """
    arguments = gs_arguments(url)
    return harmful_rules(await _rules(arguments), arguments["prefix"])


async def apply(url: str, rules: Sequence[ExpiryRule]) -> None:
    """Set the rules in the bucket, in place of those that were set by this before. All others stay.

    Google replaces the rules of a bucket as a whole: somebody else who changes them at the same moment may be undone.

    Raises:
        StoreDenied: The credentials may not do it.
        StoreUnavailable: Google does not answer.
    """
    arguments = gs_arguments(url)
    others = [rule for rule in await _rules(arguments) if not _is_ours(rule, _folder(arguments))]
    await _ask(arguments, "PATCH", {"lifecycle": {"rule": [*others, *rules_of(url, rules)]}})


async def _rules(arguments: Mapping[str, Any]) -> list[Any]:
    return list((await _ask(arguments, "GET", None)).get("lifecycle", {}).get("rule", ()))


def _is_ours(rule: Mapping[str, Any], folder: str) -> bool:
    """Whether :func:`apply` set it, for this store: rules have no names here, so it is told by what it is about."""
    condition = rule.get("condition", {})
    below = condition.get("matchesPrefix", [""])
    if len(below) != 1 or rule.get("action", {}).get("type") != "Delete":
        return False
    if condition.keys() <= {"daysSinceNoncurrentTime", "matchesPrefix"}:
        return bool(below == [folder])
    return (
        condition.keys() == {"age", "matchesPrefix"}
        and below[0].startswith(folder)
        and is_tenant_scope(below[0])
    )


def _folder(arguments: Mapping[str, Any]) -> str:
    prefix = str(arguments["prefix"]).removesuffix("/")
    return f"{prefix}/" if prefix else ""


async def _ask(
    arguments: Mapping[str, Any], method: str, change: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    async with opened(arguments) as client:
        answer = await client.ask(
            method,
            f"/storage/v1/b/{arguments['bucket']}",
            {"fields": "kind,lifecycle"},
            "",
            headers={"Content-Type": "application/json"},
            body=() if change is None else (json.dumps(change).encode(),),
        )
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise StoreDenied(
            "the credentials may not see or change the bucket",
            "Allow storage.buckets.get and storage.buckets.update.",
        )
    if answer.status != HTTPStatus.OK:
        raise StoreUnavailable(f"Google answers {answer.status}", "Look the status up, and try again.")
    found = described(answer)
    if found is None:
        raise StoreUnavailable(
            "something else than Google Cloud Storage answers",
            "Check the endpoint, and what stands in between: a proxy, or a page to sign in at.",
        )
    return found
