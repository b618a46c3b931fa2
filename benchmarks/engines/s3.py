"""A real S3 server behind a proxy that counts and delays requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import boto3

from benchmarks.engines.http_proxy import HttpProxy, http_proxy
from tests.engines.seaweed import serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and the keys of its account: everything that a process needs."""

    endpoint: str
    name: str
    access_key: str
    secret_key: str


class S3:
    """The server.

    Args:
        proxy: The proxy for the measured clients.
        endpoint: The address of the server itself.
        access_key: Access key of an account with all rights.
        secret_key: Secret key of this account.
    """

    def __init__(self, proxy: HttpProxy, endpoint: str, access_key: str, secret_key: str) -> None:
        self.proxy = proxy
        self._account = access_key, secret_key
        session = boto3.Session(access_key, secret_key, region_name=REGION)
        self._client: S3Client = session.client("s3", endpoint_url=endpoint)

    def new_bucket(self, name: str) -> Bucket:
        """Create an empty bucket, to be reached through the proxy.

        At most seven: SeaweedFS creates 7 volumes for each at its first write, of the 50 that ours has; after that writes
        wait.
        """
        self._client.create_bucket(Bucket=name)
        return Bucket(self.proxy.endpoint, name, *self._account)

    def sizes(self, bucket: Bucket) -> list[int]:
        """Return the bytes of every object. Neither counted nor delayed."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
        return [entry.get("Size", 0) for page in pages for entry in page.get("Contents", ())]


@asynccontextmanager
async def s3() -> AsyncIterator[S3]:
    """Run both on free ports of 127.0.0.1; stored objects are deleted at the end."""
    with TemporaryDirectory(prefix="coatcheck-s3-") as folder, serving(Path(folder)) as server:
        async with http_proxy(server.endpoint) as proxy:
            yield S3(proxy, server.endpoint, server.access_key, server.secret_key)
