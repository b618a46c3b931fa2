"""Objects in a bucket of Amazon S3 or of a service with the same API."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from coatcheck.contracts.store import DEFAULT_LIMIT, MAX_KEY_LENGTH, Store, StoredObject, check_key
from coatcheck.errors import ConfigError
from coatcheck.runtime.forks import abandon, after_fork
from coatcheck.stores._listing_order import ListingOrder
from coatcheck.stores._s3.identity import AwsIdentity

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client as Boto3

    from coatcheck.stores._s3.bucket import S3Bucket

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_UNORDERED = "--x-s3"
"""Suffix of a directory bucket's name."""
_S3_KEY_LENGTH = 1024
_PAGE = 1000
_BEFORE_SLASH = "-."
"""Characters in keys that sort before their slashes."""


class S3Store(Store):
    """Keeps objects in an S3 bucket, below ``prefix``. Needs ``pip install 'coatcheck[s3]'``.

    boto3 finds the credentials (environment, profile, SSO, assumed role, instance; renewed as they expire, and read anew
    where they are refused), the region and the endpoint, and signs; aiohttp moves the bytes. No other setting of the
    environment counts, but for proxies. Nothing is looked up and no connection is opened before the first request.

    Each write is one PUT, with ``If-None-Match: *`` for a create, and carries the SHA-256 of its bytes, which
    S3 verifies and keeps. Uploads are not split into parts: S3 accepts 5 GiB in one PUT, a PUT appears whole or
    not at all, and a cancelled one leaves no hidden parts to pay for. No write is retried here.

    Redirects are never followed. A success counts only if it carries what S3 alone can know of the request, so a page
    that a proxy shows instead is an error.

    The credentials need ``s3:PutObject``, ``s3:GetObject`` and ``s3:DeleteObject`` on the objects and
    ``s3:ListBucket`` on the bucket; without the last, S3 answers "denied" for a missing object. Sweeping a bucket with
    versioning takes ``s3:GetBucketVersioning``, ``s3:ListBucketVersions`` and ``s3:DeleteObjectVersion`` as well.

    Args:
        bucket: Its name; it must exist.
        prefix: Segments that all keys are kept below, such as ``"prod/payloads"``, for coatcheck alone.
        session: Source of credentials, region and endpoint. Defaults to a new one, by boto3's own rules.
        endpoint_url: A service other than Amazon's; ``http://`` only for tests. Defaults to what boto3 finds.
        region: The bucket's region. Defaults to the session's.
        path_style: True to put the bucket in the path instead of the host name. By default the host name at Amazon,
            unless the bucket's name has a dot, and the path elsewhere.
        sse: Encryption at rest to ask for: ``"AES256"`` (SSE-S3), ``"aws:kms"`` or ``"aws:kms:dsse"``. Defaults
            to the bucket's own setting.
        kms_key_id: The KMS key, by its ARN; implies ``sse="aws:kms"``. Defaults to the account's key for S3.
        ca_bundle: A PEM file of the issuers to trust for the service. Defaults to what boto3 finds (``AWS_CA_BUNDLE``,
            or ``ca_bundle`` of the profile), else to the system's.
        timeout: Seconds of silence, or of less than 1 MiB a second, after which a request is given up.

    Raises:
        ConfigError: The bucket's name or the prefix is malformed, it is a directory bucket, or a package is not installed.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        session: "boto3.Session | None" = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        path_style: bool | None = None,
        sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None,
        kms_key_id: str | None = None,
        ca_bundle: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        for module in ("aiohttp", "boto3"):
            if find_spec(module) is None:
                raise ConfigError(f"{module} is not installed", "Run: pip install 'coatcheck[s3]'")
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(
                f"{bucket[:80]!r} is not a bucket name", "Pass the bucket's name alone, without s3://."
            )
        if bucket.endswith(_UNORDERED):
            raise ConfigError(
                f"{bucket!r} is a directory bucket: it lists in no order and keeps objects in one zone",
                "Use a general purpose bucket.",
            )
        if kms_key_id is not None and sse == "AES256":
            raise ConfigError("SSE-S3 does not use a KMS key", 'Pass sse="aws:kms", or no kms_key_id.')
        self.bucket = bucket
        self.prefix = f"{check_key(prefix.removesuffix('/'))}/" if prefix else ""
        if len(self.prefix) + MAX_KEY_LENGTH > _S3_KEY_LENGTH:
            raise ConfigError(
                f"the prefix has {len(self.prefix)} characters, which leaves too few of S3's {_S3_KEY_LENGTH} for keys",
                f"Use at most {_S3_KEY_LENGTH - MAX_KEY_LENGTH} characters.",
            )
        self._path_style = path_style
        self._sse = sse or ("aws:kms" if kms_key_id else None)
        self._kms_key_id = kms_key_id
        self._timeout = timeout
        self._identity = AwsIdentity(session, region, endpoint_url, ca_bundle)
        self._held: S3Bucket | None = None
        self._boto3: Boto3 | None = None
        self._opening = threading.Lock()
        after_fork(self._start_anew)

    def __repr__(self) -> str:
        return f"S3Store({self.bucket!r}, {self.prefix!r})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        name = self.prefix + check_key(key)
        return await (await self._bucket()).put(name, data, key, create=True)

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        name = self.prefix + check_key(key)
        await (await self._bucket()).put(name, data, key, create=False)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        name = self.prefix + check_key(key)
        return await (await self._bucket()).get(name, limit, key)

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        name = self.prefix + check_key(key)
        await (await self._bucket()).delete(name, key)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`. One request where the bucket keeps no versions."""
        await asyncio.to_thread(self._delete_versions, prefix)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. One request for each 1,000 objects.

        Raises:
            ConfigError: The service does not list the objects of a folder in order.
        """
        if not _begins_keys(prefix):
            return
        bucket, token, order = await self._bucket(), None, ListingOrder()
        while token != "":
            page = await bucket.page(self.prefix + prefix, _PAGE, token or "")
            token = page.token
            for entry in page.entries:
                yield entry._replace(key=order.check(entry.key).removeprefix(self.prefix))

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`. One request for each 1,000 objects.

        Where another service than Amazon's keeps objects in folders, two more for each folder in the last key.
        """
        if not _begins_keys(prefix) or count < 1:
            return []
        bucket, token, first = await self._bucket(), None, list[StoredObject]()
        while token != "" and len(first) < count:
            page = await bucket.page(self.prefix + prefix, min(count - len(first), _PAGE), token or "")
            token = page.token
            first += [entry._replace(key=entry.key.removeprefix(self.prefix)) for entry in page.entries]
            if any(one.key >= other.key for one, other in pairwise(first)):
                # Only all of them tell which are the first.
                return await super().list_first(prefix, count)
        if token and not bucket.lists_in_order:
            # It may show all of a/ before a-b: by the names of folders, not by whole keys.
            for folder in _folders(first[-1].key, prefix):
                for sign in _BEFORE_SLASH:
                    first += await self.list_first(folder + sign, count)
        return sorted(first, key=_key_of)[:count]

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        held = self._held
        self._boto3 = None
        if held is not None:
            await held.close()

    async def _bucket(self) -> "S3Bucket":
        # In a thread: boto3 is slow to load, and reads files.
        held = self._held
        return held if held is not None else await asyncio.to_thread(self._open)

    def _open(self) -> "S3Bucket":
        from coatcheck.stores._s3.bucket import S3Bucket  # noqa: PLC0415 - optional, and slow to load
        from coatcheck.stores._s3.client import S3Client  # noqa: PLC0415 - optional, and slow to load

        with self._opening:
            if self._held is None:
                site = self._identity.site()
                client = S3Client(
                    self.bucket, self._identity, site, self._timeout, path_style=self._path_style
                )
                self._held = S3Bucket(self.bucket, site, client, self._encryption())
            return self._held

    def _encryption(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._sse:
            headers["x-amz-server-side-encryption"] = self._sse
        if self._kms_key_id:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = self._kms_key_id
        return headers

    def _delete_versions(self, prefix: str) -> None:
        from coatcheck.stores._s3.versions import delete_noncurrent  # noqa: PLC0415 - optional

        with self._opening:
            if self._boto3 is None:
                self._boto3 = self._identity.client(self.bucket, self._timeout, path_style=self._path_style)
            client = self._boto3
        delete_noncurrent(client, self.bucket, self.prefix + prefix)

    def _start_anew(self) -> None:
        """Drop connections in a forked child: they are the parent's."""
        abandon(self._boto3)
        self._boto3 = None
        self._opening = threading.Lock()


def _key_of(entry: StoredObject) -> str:
    return entry.key


def _folders(key: str, prefix: str) -> list[str]:
    """Return the folders of a key that are longer than ``prefix``."""
    return [key[:end] for end, char in enumerate(key) if char == "/" and end >= len(prefix)]


def _begins_keys(prefix: str) -> bool:
    """Tell if a key can start like this."""
    try:
        return not prefix or bool(check_key(prefix.removesuffix("/")))
    except ConfigError:
        return False
