"""Versions that an S3 bucket keeps of deleted or replaced objects. Needs boto3."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from coatcheck.errors import CoatcheckError, StoreDenied, StoreUnavailable
from coatcheck.stores._s3.answers import is_locked, judged

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectVersionsOutputTypeDef, ObjectIdentifierTypeDef

_DENIED: Final = 403
_OTHER: Final = 500
_UNVERSIONED: Final = "null"
"""The ID of what was written while versioning was off or suspended. Only while it is on, no writer can reuse it."""
_LOSES_WRITES: Final = ("SeaweedFS",)
"""Servers that lose what is written to a key while an older version of it is deleted, by the name they give (SeaweedFS
4.48: 14 to 48 of 800 writes at such a moment could not be read any more)."""


def delete_noncurrent(client: "S3Client", bucket: str, prefix: str) -> None:
    """Delete for good every version below ``prefix`` that is not current, then the delete markers.

    Each by its ID, so that what is written meanwhile stays. A marker goes last: without it the version before it would
    be current again.

    Raises:
        StoreDenied: The credentials lack ``s3:GetBucketVersioning``, ``s3:ListBucketVersions`` or
            ``s3:DeleteObjectVersion``; or the server would lose what is written meanwhile; or a version is locked, when
            all others are gone.
        StoreUnavailable: S3 does not answer.
        ConfigError: There is no such bucket, or its settings are wrong.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - optional

    locked: list[str] = []
    try:
        answer = client.get_bucket_versioning(Bucket=bucket)
        status = answer.get("Status")
        if status is None:
            return
        _refuse_if_unsafe(answer["ResponseMetadata"]["HTTPHeaders"].get("server", ""))
        for markers in (False, True):
            for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                locked += _delete(
                    client,
                    bucket,
                    [found for found in _noncurrent(page, markers=markers) if _may_go(found, status)],
                )
    except ClientError as error:
        raise _typed(
            error.response["ResponseMetadata"].get("HTTPStatusCode", _OTHER), error.response["Error"]
        ) from None
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"S3 cannot be reached: {type(error).__name__}", "Check the network."
        ) from None
    if locked:
        raise StoreDenied(
            f"{len(locked)} noncurrent versions are locked",
            "They can be deleted when their retention or legal hold ends; the others are gone.",
            locked[0],
        )


def _refuse_if_unsafe(server: str) -> None:
    if server.startswith(_LOSES_WRITES):
        raise StoreDenied(
            f"{server.split(maxsplit=1)[0]} loses what is written to a key while an older version of it is deleted",
            "Noncurrent versions were left. Delete them while nothing writes, or turn versioning off.",
        )


def _noncurrent(
    page: "ListObjectVersionsOutputTypeDef", *, markers: bool
) -> "Iterator[ObjectIdentifierTypeDef]":
    if markers:
        for marker in page.get("DeleteMarkers", []):
            yield {"Key": marker.get("Key", ""), "VersionId": marker.get("VersionId", "")}
        return
    for version in page.get("Versions", []):
        if not version.get("IsLatest"):
            yield {"Key": version.get("Key", ""), "VersionId": version.get("VersionId", "")}


def _may_go(found: "ObjectIdentifierTypeDef", status: str) -> bool:
    return status == "Enabled" or found["VersionId"] != _UNVERSIONED


def _delete(client: "S3Client", bucket: str, found: "Sequence[ObjectIdentifierTypeDef]") -> list[str]:
    """Delete versions; return the keys of those that are locked."""
    if not found:
        return []
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
    locked: list[str] = []
    for failed in answer.get("Errors", []):
        if not is_locked(failed.get("Code", ""), failed.get("Message", "")):
            raise _typed(_DENIED if failed.get("Code") == "AccessDenied" else _OTHER, failed)
        locked.append(failed.get("Key", ""))
    return locked


def _typed(status: int, error: Mapping[str, Any]) -> CoatcheckError:
    code, said = error.get("Code", ""), error.get("Message", "")
    if status == _DENIED:
        return StoreDenied(
            "the credentials may not list or delete noncurrent versions",
            "Allow s3:GetBucketVersioning, s3:ListBucketVersions and s3:DeleteObjectVersion, or let a rule delete them: "
            "coatcheck store lifecycle.",
        )
    return judged(status, code, said, what=f"S3 answers {status} {code}".rstrip())
