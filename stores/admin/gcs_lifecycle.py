"""Lifecycle rules of a Google Cloud Storage bucket. Needs what :class:`~coatcheck.GCSStore` needs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from coatcheck.contracts.store import ExpiryRule
from coatcheck.stores.admin.facts import is_tenant_scope
from coatcheck.stores.admin.gcs import SECONDS, harmful_rules, opened, rules_in
from coatcheck.stores.urls import gs_arguments


def rules_of(url: str, rules: Sequence[ExpiryRule]) -> list[Any]:
    """Return the rules in Google's form.

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
    """Return a clause for each rule of the bucket that takes current objects out of reach.

    Raises:
        StoreDenied: The credentials may not ask.
        StoreUnavailable: Google does not answer.
    """
    return await asyncio.to_thread(_harmful, gs_arguments(url))


async def apply(url: str, rules: Sequence[ExpiryRule]) -> None:
    """Set the rules in the bucket, in place of those that were set by this before. All others stay.

    Raises:
        StoreDenied: The credentials may not do it.
        StoreUnavailable: Google does not answer, or somebody else changed the bucket at the same moment: nothing was set.
        ConfigError: The bucket has rules that google-cloud-storage does not know, and would leave out.
    """
    await asyncio.to_thread(_apply, url, rules)


def _harmful(arguments: Mapping[str, Any]) -> list[str]:
    with opened(arguments) as bucket:
        return harmful_rules(rules_in(bucket), arguments["prefix"])


def _apply(url: str, rules: Sequence[ExpiryRule]) -> None:
    arguments = gs_arguments(url)
    with opened(arguments) as bucket:
        others = [rule for rule in rules_in(bucket) if not _is_ours(rule, _folder(arguments))]
        bucket.lifecycle_rules = [*others, *rules_of(url, rules)]
        bucket.patch(if_metageneration_match=bucket.metageneration, retry=None, timeout=SECONDS)


def _is_ours(rule: Mapping[str, Any], folder: str) -> bool:
    """Tell if :func:`apply` set it, for this store: rules have no names here, so its content decides."""
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
