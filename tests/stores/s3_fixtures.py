"""A bucket on the real server, and boto3's own view of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from uuid import uuid4

import boto3
import pytest
from mypy_boto3_s3 import S3Client

from coatcheck.stores.s3 import S3Store
from tests.engines.seaweed import S3Server

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that is there, and a client that does not go through coatcheck."""

    server: S3Server
    name: str
    client: S3Client

    def keys(self, prefix: str = "") -> list[str]:
        """What boto3 lists."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [found.get("Key", "") for page in pages for found in page.get("Contents", [])]

    def read(self, key: str) -> bytes | None:
        """What boto3 reads."""
        try:
            return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None


# A session reads botocore's data files for its first client, which takes longer than most tests.
@cache
def session_of(access_key: str, secret_key: str) -> boto3.Session:
    return boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=REGION)


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> Bucket:
    session = session_of(s3_server.access_key, s3_server.secret_key)
    client = session.client("s3", endpoint_url=s3_server.endpoint)
    name = f"payloads-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    # SeaweedFS lays out a bucket's volumes at the first write, which takes seconds.
    client.put_object(Bucket=name, Key="first")
    client.delete_object(Bucket=name, Key="first")
    return Bucket(s3_server, name, client)


NewStore = Callable[..., S3Store]


@pytest.fixture
def new_store(bucket: Bucket) -> NewStore:
    """Makes stores in the bucket, all below one prefix that no other test has."""
    prefix = f"test-{uuid4().hex}"

    def make(endpoint: str = bucket.server.endpoint, **settings: object) -> S3Store:
        chosen: dict[str, object] = {
            "session": session_of(bucket.server.access_key, bucket.server.secret_key),
            "bucket": bucket.name,
            "prefix": prefix,
            **settings,
        }
        return S3Store(endpoint_url=endpoint, **chosen)  # type: ignore[arg-type]

    return make
