"""Configuration of an S3 bucket. Needs boto3, as :class:`~coatcheck.S3Store` does."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coatcheck.errors import StoreUnavailable
from coatcheck.stores._s3.identity import AwsIdentity
from coatcheck.stores.admin.facts import BucketFact, Topic, is_tenant_scope, lifecycle_fact, overlap
from coatcheck.stores.urls import s3_arguments

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SECONDS = 10
_DENIED = 403
_NONE_SET = {"NoSuchLifecycleConfiguration", "ServerSideEncryptionConfigurationNotFoundError"}
_UNKNOWN_TO_IT = {"MethodNotAllowed", "NotImplemented"}
_OUT_OF_REACH = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes whose objects cannot be read before somebody restores them."""


_VERSIONING = {
    "Enabled": "on: deleted objects can be restored, and stay until a rule for noncurrent versions removes them",
    "Suspended": "suspended: objects deleted now are gone; older versions stay until a rule for noncurrent versions "
    "removes them",
}


async def look(url: str) -> list[BucketFact]:
    """Return versioning, encryption and lifecycle rules of the bucket of an ``s3://`` URL. A failure is a fact, too.

    Raises:
        ConfigError: The URL is malformed.
    """
    return await asyncio.to_thread(_look, s3_arguments(url))


def _look(arguments: Mapping[str, Any]) -> list[BucketFact]:
    bucket, prefix = arguments["bucket"], arguments["prefix"]
    with opened(arguments) as client:
        return [
            _asked("versioning", "GetBucketVersioning", lambda: _versioning(client, bucket)),
            _asked("encryption", "GetEncryptionConfiguration", lambda: _encryption(client, bucket)),
            _asked("lifecycle", "GetLifecycleConfiguration", lambda: _lifecycle(client, bucket, prefix)),
        ]


@contextmanager
def opened(arguments: Mapping[str, Any]) -> "Iterator[S3Client]":
    """Return a client for what an ``s3://`` URL names.

    Raises:
        ConfigError: The AWS configuration cannot be used.
    """
    identity = AwsIdentity(
        None, arguments.get("region"), arguments.get("endpoint_url"), arguments.get("ca_bundle")
    )
    client = identity.client(arguments["bucket"], _SECONDS, path_style=arguments.get("path_style"))
    try:
        yield client
    finally:
        client.close()


def _asked(topic: Topic, permission: str, ask: Callable[[], BucketFact]) -> BucketFact:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - optional

    try:
        return ask()
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        status = error.response["ResponseMetadata"].get("HTTPStatusCode")
    except BotoCoreError as error:
        return BucketFact(topic, f"could not look: {type(error).__name__}", fine=None)
    except StoreUnavailable as error:
        return BucketFact(topic, f"could not look: {error}", fine=None)
    if code in _NONE_SET:
        return lifecycle_fact([]) if topic == "lifecycle" else _unencrypted()
    said = f"could not look: the service answers {status} {code}".rstrip()
    if code in _UNKNOWN_TO_IT:
        said = "this service does not say"
    elif status == _DENIED:
        said = f"not allowed to look: needs s3:{permission}"
    return BucketFact(topic, said, fine=None)


def _versioning(client: "S3Client", bucket: str) -> BucketFact:
    status = client.get_bucket_versioning(Bucket=bucket).get("Status", "")
    return BucketFact("versioning", _VERSIONING.get(status, "off: deleted objects are gone"))


def _encryption(client: "S3Client", bucket: str) -> BucketFact:
    found = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    for rule in found.get("Rules", []):
        default = rule.get("ApplyServerSideEncryptionByDefault")
        if default:
            key = default.get("KMSMasterKeyID")
            how = default["SSEAlgorithm"] + (f" with the key {key}" if key else "")
            return BucketFact("encryption", f"the bucket encrypts at rest: {how}")
    return _unencrypted()


def _unencrypted() -> BucketFact:
    return BucketFact(
        "encryption", "the bucket has no default encryption; a chain with keys encrypts its payloads anyway"
    )


def _lifecycle(client: "S3Client", bucket: str, prefix: str) -> BucketFact:
    return lifecycle_fact(
        harmful_rules(client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", []), prefix)
    )


def harmful_rules(rules: Iterable[Mapping[str, Any]], prefix: str) -> list[str]:
    """Return a clause for each rule that takes current objects below ``prefix`` out of reach.

    Rules that ask for a tag are left out: coatcheck's objects have none.
    """
    harmful: list[str] = []
    for rule in rules:
        conditions = rule.get("Filter") or {"Prefix": rule.get("Prefix", "")}
        conditions = conditions.get("And", conditions)
        below = conditions.get("Prefix", "")
        tagged = "Tag" in conditions or "Tags" in conditions
        if rule.get("Status") != "Enabled" or tagged or is_tenant_scope(below) or not overlap(below, prefix):
            continue
        name = f"rule {rule.get('ID', 'without a name')!r}"
        expiration = rule.get("Expiration", {})
        if "Days" in expiration or "Date" in expiration:
            harmful.append(f"{name} deletes objects below {below!r} {_when(expiration)}")
        harmful.extend(
            f"{name} moves objects below {below!r} to {move['StorageClass']} {_when(move)}, out of reach"
            for move in rule.get("Transitions", ())
            if move.get("StorageClass") in _OUT_OF_REACH
        )
    return harmful


def _when(part: Mapping[str, Any]) -> str:
    return f"after {part['Days']} days" if "Days" in part else f"on {part['Date']:%Y-%m-%d}"
