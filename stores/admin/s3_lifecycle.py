"""Lifecycle rules of an S3 bucket. Needs boto3, as :class:`~coatcheck.S3Store` does."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from coatcheck.contracts.store import ExpiryRule
from coatcheck.errors import StoreDenied, StoreUnavailable
from coatcheck.stores.admin.s3 import harmful_rules, opened
from coatcheck.stores.urls import s3_arguments

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_OURS: Final = "coatcheck-"
_NONE_SET: Final = "NoSuchLifecycleConfiguration"


def rules_of(url: str, rules: Sequence[ExpiryRule]) -> list[Any]:
    """Return the rules in S3's form, each with an ID of its own.

    Raises:
        ConfigError: The URL is malformed, as for the other functions.
    """
    return [_rule(_folder(s3_arguments(url)), rule) for rule in rules]


async def harmful(url: str) -> list[str]:
    """Return a clause for each rule of the bucket that takes current objects out of reach.

    Raises:
        StoreDenied: The credentials may not ask.
        StoreUnavailable: S3 does not answer.
    """
    return await asyncio.to_thread(_harmful, s3_arguments(url))


async def apply(url: str, rules: Sequence[ExpiryRule]) -> None:
    """Set the rules in the bucket, in place of those that were set by this before. All others stay.

    S3 replaces the rules of a bucket as a whole, so a change that another client makes at the same moment may be undone.

    Raises:
        StoreDenied: The credentials may not do it.
        StoreUnavailable: S3 does not answer.
    """
    await asyncio.to_thread(_apply, url, rules)


def _rule(folder: str, rule: ExpiryRule) -> dict[str, Any]:
    prefix = folder + rule.prefix
    # The bucket may keep payloads of several stores.
    name = prefix.replace("/", "-").strip("-") or "all"
    if rule.noncurrent:
        return {
            "ID": f"{_OURS}versions-{name}"[:255],
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "NoncurrentVersionExpiration": {"NoncurrentDays": rule.days},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        }
    return {
        "ID": f"{_OURS}tenant-{name}"[:255],
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": rule.days},
    }


def _harmful(arguments: Mapping[str, Any]) -> list[str]:
    with _in_words(), opened(arguments) as client:
        return harmful_rules(_rules(client, arguments["bucket"]), arguments["prefix"])


def _apply(url: str, rules: Sequence[ExpiryRule]) -> None:
    arguments, ours = s3_arguments(url), rules_of(url, rules)
    with _in_words(), opened(arguments) as client:
        found = _rules(client, arguments["bucket"])
        others = [rule for rule in found if not _is_ours(rule, _folder(arguments))]
        client.put_bucket_lifecycle_configuration(
            Bucket=arguments["bucket"], LifecycleConfiguration={"Rules": [*others, *ours]}
        )


def _rules(client: "S3Client", bucket: str) -> list[Any]:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - optional

    try:
        return list(client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", []))
    except ClientError as error:
        if error.response["Error"].get("Code") == _NONE_SET:
            return []
        raise


def _is_ours(rule: Mapping[str, Any], folder: str) -> bool:
    """Tell if :func:`apply` set it, for this store."""
    return bool(rule.get("ID", "").startswith(_OURS)) and rule.get("Filter", {}).get("Prefix", "").startswith(
        folder
    )


def _folder(arguments: Mapping[str, Any]) -> str:
    prefix = str(arguments["prefix"]).removesuffix("/")
    return f"{prefix}/" if prefix else ""


@contextmanager
def _in_words() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - optional

    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"].get("HTTPStatusCode")
        code = error.response["Error"].get("Code", "")
        if status == HTTPStatus.FORBIDDEN:
            raise StoreDenied(
                f"the credentials may not {error.operation_name}",
                "Allow s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration on the bucket.",
            ) from None
        raise StoreUnavailable(
            f"S3 answers {status} {code}".rstrip(), "Look up the code, then retry."
        ) from None
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"S3 cannot be reached: {type(error).__name__}", "Check the URL and the network."
        ) from None
