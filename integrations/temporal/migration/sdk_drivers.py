"""Reads what the SDK's own storage drivers wrote (``temporalio.contrib.aws.s3driver``, ``temporalio.contrib.gcp.gcsdriver``).

An object is a serialized payload, and its key ends in its SHA-256:
``v0/ns/NAMESPACE/wt/TYPE/wi/ID/ri/RUN/d/sha256/HEX`` for a workflow's, with ``at``, ``ai`` and ``ri`` for a standalone
activity's, without either where that would be too long, and ``v0/d/sha256/HEX`` where the driver was told no target.
"""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self
from urllib.parse import unquote

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError, FormatError
from coatcheck.integrations.temporal.migration.buckets import GCSBucket, S3Bucket
from coatcheck.integrations.temporal.migration.read_also import (
    MAX_FOREIGN_PAYLOAD,
    check_digest,
    no_namespace,
    no_writing,
)
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient

if TYPE_CHECKING:
    import boto3
    from google.auth.credentials import Credentials

_KEY = re.compile(
    r"v0(?:/ns/(?P<namespace>[^/]+)(?:/(?:wt/[^/]+/wi|at/[^/]+/ai)/[^/]+/ri/[^/]+)?)?"
    r"/d/sha256/(?P<digest>[0-9a-f]{64})"
)
_MAX_KEY_BYTES = 1024
_USUAL_SIZE = 1 << 20
"""Assumed bytes of an object until it is read: a reference does not say."""


class _DriverReader(StorageDriver):
    """A driver of the SDK that only reads, and only from the buckets that it was given. For any number of event loops.

    Args:
        name: Name of the driver in references.
        buckets: By name.
    """

    _type: ClassVar[str]
    _key_field: ClassVar[str]

    def __init__(self, name: str, buckets: Mapping[str, Store]) -> None:
        if not buckets:
            raise ConfigError(f"{type(self).__name__} reads from no bucket", "Name the buckets to read from.")
        self._name = name
        self._buckets = {bucket: StoreClient(store) for bucket, store in buckets.items()}
        self._namespace = ""
        self._within: dict[str, Self] = {}

    def within(self, namespace: str) -> Self:
        """Return the same reader for the payloads of one namespace; one object for each."""
        if namespace not in self._within:
            reader = copy(self)
            reader._namespace = namespace  # noqa: SLF001 - its own class
            self._within[namespace] = reader
        return self._within[namespace]

    def name(self) -> str:
        """Name of the driver in references."""
        return self._name

    def type(self) -> str:
        """The SDK's name for this kind of driver."""
        return self._type

    async def store(
        self,
        context: StorageDriverStoreContext,  # noqa: ARG002 - the SDK's signature
        payloads: Sequence[Payload],  # noqa: ARG002 - the SDK's signature
    ) -> NoReturn:
        """Refuse to store.

        Raises:
            ConfigError: Always.
        """
        no_writing(type(self).__name__)

    async def retrieve(
        self,
        context: StorageDriverRetrieveContext,  # noqa: ARG002 - the SDK's signature
        claims: Sequence[StorageDriverClaim],
    ) -> list[Payload]:
        """Return the payload behind each, concurrently; same length and order as ``claims``.

        Raises:
            ConfigError: A claim names a bucket that was not configured, or a namespace that is not ours.
            FormatError: A claim or an object is not as the SDK's driver writes it.
            IntegrityError: An object has another hash than its claim states.
            LimitExceeded: An object is larger than ``max_payload``.
            PayloadNotFound: It is gone.
            StoreError: The service cannot or will not give it.
        """
        return await all_at_once(self._retrieve(claim.claim_data) for claim in claims)

    async def close(self) -> None:
        """Close connections; they open again when needed."""
        await all_at_once(bucket.close() for bucket in self._buckets.values())

    async def _retrieve(self, claim: Mapping[str, str]) -> Payload:
        bucket, key, digest = self._place(claim)
        data = await bucket.get(key, _USUAL_SIZE)
        await check_digest(data, digest)
        try:
            return Payload.FromString(data)
        except DecodeError as error:
            raise FormatError(
                "the object is not a payload", "It was not written by the SDK's driver.", digest
            ) from error

    def _place(self, claim: Mapping[str, str]) -> tuple[StoreClient, str, str]:
        """Return the bucket, the key in it, and the hash; all checked before any I/O."""
        if not self._namespace:
            raise no_namespace(type(self).__name__)
        key = claim.get(self._key_field, "")
        found = _KEY.fullmatch(key)
        if (
            found is None
            or len(key.encode()) > _MAX_KEY_BYTES
            or (claim.get("hash_algorithm"), claim.get("hash_value")) != ("sha256", found["digest"])
        ):
            raise FormatError(f"malformed claim of {self._name}", "It was not written by the SDK's driver.")
        bucket = claim.get("bucket", "")
        if bucket not in self._buckets:
            raise ConfigError(
                f"a payload is said to be in the bucket {bucket[:80]!r}, which {type(self).__name__} does not read",
                "If it is yours, name it there too; else the history was tampered with.",
                found["digest"],
            )
        namespace = found["namespace"]
        if namespace is not None and unquote(namespace) != self._namespace:
            raise ConfigError(
                f"a payload is said to belong to another namespace than {self._namespace!r}",
                "Read it where that namespace is read; else the history was tampered with.",
                found["digest"],
            )
        return self._buckets[bucket], key, found["digest"]


class S3DriverReader(_DriverReader):
    """Reads what ``temporalio.contrib.aws.s3driver.S3StorageDriver`` wrote. Needs ``pip install 'coatcheck[s3]'``.

    The credentials need ``s3:GetObject`` on ``v0/*``, and ``s3:ListBucket``, without which S3 calls a missing object
    a denied one.

    Args:
        *buckets: The only ones that are read from.
        driver_name: The driver's name in references.
        max_payload: Bytes; no larger object is read.
        session: As for :class:`~coatcheck.S3Store`.
        endpoint_url: As for :class:`~coatcheck.S3Store`.
        region: As for :class:`~coatcheck.S3Store`.
        path_style: As for :class:`~coatcheck.S3Store`.

    Raises:
        ConfigError: There is no bucket, an argument is malformed, or a package is not installed.
    """

    _type = "aws.s3driver"
    _key_field = "key"

    def __init__(
        self,
        *buckets: str,
        driver_name: str = "aws.s3driver",
        max_payload: int = MAX_FOREIGN_PAYLOAD,
        session: "boto3.Session | None" = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        path_style: bool | None = None,
    ) -> None:
        super().__init__(
            driver_name,
            {
                bucket: S3Bucket(
                    bucket,
                    max_payload,
                    session=session,
                    endpoint_url=endpoint_url,
                    region=region,
                    path_style=path_style,
                )
                for bucket in buckets
            },
        )


class GCSDriverReader(_DriverReader):
    """Reads what ``temporalio.contrib.gcp.gcsdriver.GCSStorageDriver`` wrote. Needs ``pip install 'coatcheck[gcs]'``.

    The credentials need ``storage.objects.get``, and ``storage.objects.list``, without which the service calls a
    missing object a denied one.

    Args:
        *buckets: The only ones that are read from.
        driver_name: The driver's name in references.
        max_payload: Bytes; no larger object is read.
        credentials: As for :class:`~coatcheck.GCSStore`.
        project: As for :class:`~coatcheck.GCSStore`.
        endpoint_url: As for :class:`~coatcheck.GCSStore`.

    Raises:
        ConfigError: There is no bucket, an argument is malformed, or a package is not installed.
    """

    _type = "gcp.gcsdriver"
    _key_field = "object_name"

    def __init__(
        self,
        *buckets: str,
        driver_name: str = "gcp.gcsdriver",
        max_payload: int = MAX_FOREIGN_PAYLOAD,
        credentials: "Credentials | None" = None,
        project: str | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        super().__init__(
            driver_name,
            {
                bucket: GCSBucket(
                    bucket, max_payload, credentials=credentials, project=project, endpoint_url=endpoint_url
                )
                for bucket in buckets
            },
        )
