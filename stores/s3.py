"""Objects in a bucket of Amazon S3, or of a service that speaks its protocol."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from coatcheck.contracts import (
    DEFAULT_LIMIT,
    MAX_KEY_LENGTH,
    Store,
    StoredObject,
    check_key,
    check_size,
    first_in_order,
)
from coatcheck.errors import CoatcheckError, ConfigError, StoreUnavailable
from coatcheck.stores._obstore import Failure, failure
from coatcheck.stores._s3_errors import is_already_there, is_other_region, other_region, typed
from coatcheck.stores._s3_versions import delete_noncurrent

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client
    from obstore import ObjectMeta
    from obstore.store import S3Config
    from obstore.store import S3Store as Client

_T = TypeVar("_T")

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_S3_KEY_LENGTH = 1024
_SLOWEST = 1 << 20
"""Bytes per second: a connection slower than this is taken for a dead one."""
_CREDENTIALS_FOR = timedelta(minutes=10)
"""obstore asks anew 5 minutes before this ends; botocore hands out none that expire within 10 minutes."""
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class _Opened:
    """The client, and where it turned out to go."""

    client: "Client"
    address: SplitResult
    bucket_in_path: bool
    region: str


class S3Store(Store):
    """Keeps objects in an S3 bucket, below ``prefix``. Needs ``pip install 'coatcheck[s3]'``.

    boto3 finds the credentials (environment, profile, SSO, assumed role, instance; refreshed as they expire),
    the region and the endpoint; obstore moves the bytes. Nothing is looked up and no connection is opened
    before the first request.

    Each write is one PUT, with ``If-None-Match: *`` for a create, and carries the SHA-256 of its bytes, which
    S3 verifies and keeps. Uploads are not split into parts: S3 takes 5 GiB in one PUT, a single PUT appears
    whole or not at all, and a cancelled one leaves no hidden parts to pay for. Nothing is retried here.

    The credentials need ``s3:PutObject``, ``s3:GetObject`` and ``s3:DeleteObject`` on the objects and
    ``s3:ListBucket`` on the bucket; without the last, S3 calls a missing object a denied one. To sweep a bucket with
    versioning takes ``s3:GetBucketVersioning``, ``s3:ListBucketVersions`` and ``s3:DeleteObjectVersion`` as well.

    Args:
        bucket: Its name; it must exist.
        prefix: Segments that all keys are kept below, such as ``"prod/payloads"``, for coatcheck alone.
        session: Where credentials, region and endpoint come from. Defaults to a new one, by boto3's own rules.
        endpoint_url: Another service than Amazon's; ``http://`` only for tests. Defaults to what boto3 finds.
        region: The bucket's region. Defaults to the session's.
        path_style: Whether the bucket stands in the path instead of the host name. Defaults to the host name at
            Amazon, unless the bucket's name has a dot, and to the path elsewhere.
        sse: Encryption at rest to ask for: ``"AES256"`` (SSE-S3), ``"aws:kms"`` or ``"aws:kms:dsse"``. Defaults
            to the bucket's own setting.
        kms_key_id: The KMS key, by its ARN; implies ``sse="aws:kms"``. Defaults to the account's key for S3.
        timeout: Seconds that a request may take, plus one for each MiB that it carries.

    Raises:
        ConfigError: The bucket's name or the prefix is malformed, or boto3 or obstore is not installed.
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
        timeout: float = 10.0,
    ) -> None:
        for module in ("boto3", "obstore"):
            if find_spec(module) is None:
                raise ConfigError(f"{module} is not installed", "Run: pip install 'coatcheck[s3]'")
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(
                f"{bucket[:80]!r} is not a bucket's name", "Pass the name alone, without s3://."
            )
        if kms_key_id is not None and sse == "AES256":
            raise ConfigError("SSE-S3 takes no KMS key", 'Pass sse="aws:kms", or no kms_key_id.')
        self.bucket = bucket
        self.prefix = f"{check_key(prefix.removesuffix('/'))}/" if prefix else ""
        if len(self.prefix) + MAX_KEY_LENGTH > _S3_KEY_LENGTH:
            raise ConfigError(
                f"a prefix of {len(self.prefix)} characters leaves too little of S3's {_S3_KEY_LENGTH} for keys",
                f"Use at most {_S3_KEY_LENGTH - MAX_KEY_LENGTH} characters.",
            )
        self._session = session
        self._endpoint_url = endpoint_url
        self._region = region
        self._path_style = path_style
        self._sse = sse or ("aws:kms" if kms_key_id else None)
        self._kms_key_id = kms_key_id
        self._timeout = timeout
        self._held: _Opened | None = None
        self._boto3: S3Client | None = None
        self._opening = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Store({self.bucket!r}, {self.prefix!r})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        return await self._put(key, data, "create")

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        await self._put(key, data, "overwrite")

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        path = self.prefix + check_key(key)
        opened = await self._opened()
        answer = await self._ask(opened, lambda: opened.client.get_async(path), key)
        check_size(answer.meta["size"], limit, key)
        data = await self._ask(opened, answer.bytes_async, key, answer.meta["size"])
        return data.to_bytes()

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        path = self.prefix + check_key(key)
        opened = await self._opened()
        await self._ask(opened, lambda: opened.client.delete_async(path), key)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`. One request where the bucket keeps no versions."""
        await asyncio.to_thread(self._delete_versions, prefix)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. One request for each 1,000 objects.

        S3 lists in the order of keys, so the listing begins where ``prefix`` does and ends behind it.

        Raises:
            ConfigError: Below the prefix is an object that no store of coatcheck can have written.
        """
        folder, slash, name = prefix.rpartition("/")
        if not (prefix.isascii() and prefix.isprintable()) or (slash and not _is_key(folder)):
            return  # No key starts like this.
        opened = await self._opened()
        start = self.prefix + prefix
        # obstore asks for whole segments only. No key has a tilde, which sorts behind all that keys have.
        offset = f"{start[:-1]}{chr(ord(start[-1]) - 1)}~" if name else None
        pages = opened.client.list(self.prefix + folder, offset=offset, chunk_size=_PAGE)

        async def next_page() -> Sequence["ObjectMeta"]:
            # Not anext(pages, ()): CPython cannot drive obstore's futures through it.
            try:
                return await anext(pages)
            except StopAsyncIteration:
                return ()

        while page := await self._ask(opened, next_page, ""):
            for entry in page:
                if entry["path"].startswith(start):
                    key = entry["path"].removeprefix(self.prefix)
                    yield StoredObject(key, entry["size"], entry["last_modified"])
            if page[-1]["path"] > start and not page[-1]["path"].startswith(start):
                return

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`. One request for each 1,000 objects."""
        return await first_in_order(self.list_objects(prefix), count)

    async def close(self) -> None:
        """See :meth:`Store.close`. Requests under way go on to their end."""
        self._held = self._boto3 = None

    def _delete_versions(self, prefix: str) -> None:
        opened = self._open()
        with self._opening:
            if self._boto3 is None:
                self._boto3 = self._new_boto3(opened)
        delete_noncurrent(self._boto3, self.bucket, self.prefix + prefix)

    def _new_boto3(self, opened: _Opened) -> "S3Client":
        import boto3  # noqa: PLC0415 - optional, and slow to load
        from botocore.config import Config  # noqa: PLC0415 - optional

        session = self._session or boto3.Session()
        style: Literal["path", "virtual"] = "path" if opened.bucket_in_path else "virtual"
        return session.client(
            "s3",
            region_name=opened.region,
            endpoint_url=self._endpoint_url,
            config=Config(
                connect_timeout=self._timeout,
                read_timeout=self._timeout,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": style},
            ),
        )

    async def _put(self, key: str, data: bytes, mode: Literal["create", "overwrite"]) -> bool:
        path = self.prefix + check_key(key)
        opened = await self._opened()

        async def put() -> bool:
            from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - optional

            try:
                await opened.client.put_async(path, data, mode=mode, use_multipart=False)
            except AlreadyExistsError as error:
                if is_already_there(failure(error)):
                    return False
                raise
            return True

        return await self._ask(opened, put, key, len(data))

    async def _ask(
        self, opened: _Opened, request: Callable[[], Awaitable[_T]], key: str, size: int = 0
    ) -> _T:
        """Await one request that carries ``size`` bytes; its failure as a typed error."""
        from obstore.exceptions import BaseError, InvalidPathError  # noqa: PLC0415 - optional

        seconds = self._timeout + size / _SLOWEST
        try:
            async with asyncio.timeout(seconds):
                return await request()
        except TimeoutError:
            raise StoreUnavailable(
                f"bucket {self.bucket!r} did not answer within {seconds:.1f} s",
                "Retry; check the network, or raise the store's time-out.",
                key,
            ) from None
        except InvalidPathError:
            raise ConfigError(
                f"below {self.prefix!r} in bucket {self.bucket!r} is an object that coatcheck did not write",
                "Its key has an empty or a dotted segment. Give coatcheck a prefix of its own.",
            ) from None
        except (BaseError, FileNotFoundError) as error:
            # Not chained: obstore quotes the whole answer, and S3 repeats the session token in some.
            raise await self._typed(opened, failure(error), key) from None

    async def _typed(self, opened: _Opened, failed: Failure, key: str) -> CoatcheckError:
        if not is_other_region(failed):
            return typed(failed, self.bucket, key)
        right = failed.element("Region") or await asyncio.to_thread(self._look_up_region, opened)
        return other_region(self.bucket, opened.region, right)

    def _look_up_region(self, opened: _Opened) -> str:
        """Where S3 says the bucket is, to anyone who asks; empty if it does not say."""
        kind = HTTPSConnection if opened.address.scheme == "https" else HTTPConnection
        connection = kind(opened.address.netloc, timeout=self._timeout)
        try:
            connection.request("HEAD", f"/{self.bucket}" if opened.bucket_in_path else "/")
            return connection.getresponse().getheader("x-amz-bucket-region", "")
        except (OSError, HTTPException):
            return ""
        finally:
            connection.close()

    async def _opened(self) -> _Opened:
        held = self._held
        # In a thread: to find credentials boto3 reads files, runs programs and asks the network.
        return held if held is not None else await asyncio.to_thread(self._open)

    def _open(self) -> _Opened:
        with self._opening:
            if self._held is None:
                self._held = self._new()
            return self._held

    def _new(self) -> _Opened:
        import boto3  # noqa: PLC0415 - optional, and slow to load
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - optional
        from botocore.utils import is_valid_endpoint_url  # noqa: PLC0415 - optional
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - optional
        from obstore.store import S3Store as Client  # noqa: PLC0415 - optional

        try:
            session = self._session or boto3.Session(region_name=self._region)
            endpoint, region = self._endpoint_url, self._region or session.region_name
            if not endpoint or not region or not is_valid_endpoint_url(endpoint):
                # It loads the whole of S3's model: a quarter of a second, and nothing else is wanted of it.
                found = session.client("s3", region_name=region, endpoint_url=endpoint).meta
                endpoint, region = found.endpoint_url, found.region_name
            credentials = session.get_credentials()
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(
                f"the AWS configuration cannot be used: {error}".rstrip("."),
                "Correct the profile, the region or the endpoint.",
            ) from error
        if credentials is None:
            raise ConfigError(
                "there are no AWS credentials",
                "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached.",
            )
        address, in_path = self._address(endpoint)
        client = Client(
            self.bucket,
            config=self._config(address.geturl(), region, in_path=in_path),
            client_options={
                "allow_http": address.scheme == "http",
                "connect_timeout": timedelta(seconds=self._timeout),
                # obstore has one for requests of all sizes; here each has its own, always shorter.
                "timeout": timedelta(days=1),
            },
            retry_config={"max_retries": 0},
            credential_provider=Boto3CredentialProvider(session, ttl=_CREDENTIALS_FOR),
        )
        return _Opened(client, address, in_path, region)

    def _address(self, endpoint: str) -> tuple[SplitResult, bool]:
        """Where requests go, and whether the bucket stands in their path."""
        address = urlsplit(endpoint)
        in_path = self._path_style
        if in_path is None:
            in_path = "." in self.bucket or not (address.hostname or "").endswith(_AMAZON)
        return (address if in_path else address._replace(netloc=f"{self.bucket}.{address.netloc}")), in_path

    def _config(self, endpoint: str, region: str, *, in_path: bool) -> "S3Config":
        """Everything that obstore would otherwise take from AWS_* variables by rules that are not boto3's."""
        config: S3Config = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "region": region,
            "virtual_hosted_style_request": not in_path,
            "conditional_put": "etag",
            "checksum_algorithm": "SHA256",
            "unsigned_payload": False,
            "skip_signature": False,
            # One plain DELETE: every service has it, and it answers with a status.
            "disable_bulk_delete": True,
        }
        if self._sse:
            config["server_side_encryption"] = self._sse
        if self._kms_key_id:
            config["sse_kms_key_id"] = self._kms_key_id
        return config


def _is_key(folder: str) -> bool:
    try:
        check_key(folder)
    except ConfigError:
        return False
    return True
