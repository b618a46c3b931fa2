import asyncio
import base64
import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.session import Session as BotocoreSession

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError, StoreUnavailable
from coatcheck.stores._s3.identity import address_of
from coatcheck.stores.s3 import S3Store
from coatcheck.testing import StoreSuite
from tests.engines.fault_proxy import Fault, FaultProxy
from tests.stores.s3_fixtures import REGION, Bucket, NewStore


class TestS3Store(StoreSuite):
    # S3 has no folders; SeaweedFS has: it takes "a" for there once "a/b" is.
    nested_keys = False

    @pytest.fixture
    def store(self, new_store: NewStore, bucket: Bucket) -> S3Store:
        self.bucket = bucket
        # To each loser of a race SeaweedFS gives a lock to wait for, in turns of a second.
        return new_store(timeout=60)

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        assert isinstance(store, S3Store)
        return self.bucket.read(store.prefix + key)

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        assert isinstance(store, S3Store)
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=store.prefix + key, Body=data)


async def test_boto3_sees_what_was_written(bucket: Bucket, new_store: NewStore) -> None:
    store = new_store()
    await store.create("t/s/o", b"payload")
    seen = bucket.client.head_object(Bucket=bucket.name, Key=f"{store.prefix}t/s/o", ChecksumMode="ENABLED")
    assert seen["ContentLength"] == 7
    assert base64.b64decode(seen["ChecksumSHA256"]) == hashlib.sha256(b"payload").digest()
    assert bucket.keys(store.prefix) == [f"{store.prefix}t/s/o"]


@pytest.mark.parametrize("size", [0, 10_000, 20 << 20])
async def test_one_request_for_a_new_payload(bucket: Bucket, new_store: NewStore, size: int) -> None:
    async with FaultProxy(bucket.server.endpoint) as proxy:
        store = new_store(proxy.endpoint)
        assert proxy.record == []
        await store.create("t/s/o", bytes(size))
        assert [request.method for request, _ in proxy.record] == ["PUT"]
        head = proxy.record[0][0].head.lower()
        assert b"\r\nif-none-match: *\r\n" in head
        assert b"\r\nx-amz-checksum-sha256: " in head
        assert b"\r\nx-amz-content-sha256: " + hashlib.sha256(bytes(size)).hexdigest().encode() in head

        await store.get("t/s/o")
        await store.create("t/s/o", bytes(size))
        await store.replace("t/s/o", bytes(size))
        await store.delete("t/s/o")
        assert [request.method for request, _ in proxy.record[1:]] == ["GET", "PUT", "PUT", "DELETE"]


async def test_nothing_is_retried_here(bucket: Bucket, new_store: NewStore) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.BUSY) as proxy:
        store = new_store(proxy.endpoint)
        for operation in (store.create("o", b"1"), store.get("o"), store.delete("o")):
            with pytest.raises(StoreUnavailable):
                await operation
        assert len(proxy.record) == 3


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"sse": "AES256"}, {b"x-amz-server-side-encryption: AES256"}),
        ({"sse": "aws:kms"}, {b"x-amz-server-side-encryption: aws:kms"}),
        (
            {"kms_key_id": "arn:aws:kms:us-east-1:1:key/2"},
            {
                b"x-amz-server-side-encryption: aws:kms",
                b"x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:us-east-1:1:key/2",
            },
        ),
        ({}, set()),
    ],
)
async def test_encryption_at_rest_is_asked_for(
    bucket: Bucket, new_store: NewStore, settings: dict[str, str], sent: set[bytes]
) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.BUSY) as proxy:
        with pytest.raises(StoreUnavailable):
            await new_store(proxy.endpoint, **settings).create("o", b"1")
        lines = proxy.record[0][0].head.split(b"\r\n")
        assert {line for line in lines if line.startswith(b"x-amz-server-side-encryption")} == sent


async def test_cancelled_request_is_given_up(bucket: Bucket, new_store: NewStore) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.SILENT) as proxy, asyncio.timeout(60):
        store = new_store(proxy.endpoint)
        task = asyncio.ensure_future(store.create("o", bytes(100_000)))
        await proxy.arrived(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await proxy.abandoned()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bucket.keys(store.prefix) == []


async def test_silent_service_is_given_up(bucket: Bucket, new_store: NewStore) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.SILENT) as proxy, asyncio.timeout(60):
        store = new_store(proxy.endpoint, timeout=0.2)
        with pytest.raises(StoreUnavailable, match=r"nothing for 0\.2 s"):
            await store.get("o")
        await proxy.abandoned()


async def test_credentials_are_refreshed(
    bucket: Bucket, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As assumed roles and SSO do it: what botocore holds has expired, so it asks for more."""
    asked = 0

    def refresh() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return _expiring(bucket.server.access_key, bucket.server.secret_key, timedelta(hours=1))

    botocore_session = BotocoreSession()
    held = RefreshableCredentials.create_from_metadata(
        _expiring("expired", "expired", -timedelta(hours=1)), refresh, "assume-role"
    )
    monkeypatch.setattr(botocore_session, "_credentials", held)
    store = new_store(session=boto3.Session(botocore_session=botocore_session, region_name=REGION))
    await asyncio.gather(*(store.create(f"t/{number}", b"1") for number in range(8)))
    assert asked == 1


def _expiring(access_key: str, secret_key: str, left: timedelta) -> dict[str, str]:
    return {
        "access_key": access_key,
        "secret_key": secret_key,
        "token": "",
        "expiry_time": (datetime.now(UTC) + left).isoformat(),
    }


async def test_profile_is_all_it_takes(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_aws(monkeypatch, tmp_path)
    (tmp_path / "config").write_text(
        f"[profile work]\nregion = {REGION}\nendpoint_url = {bucket.server.endpoint}\n"
        f"aws_access_key_id = {bucket.server.access_key}\n"
        f"aws_secret_access_key = {bucket.server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "work")
    # Variables that other clients know, and boto3 does not, change nothing.
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_BUCKET", "another")
    store = S3Store(bucket.name, "by-profile")
    assert await store.create("o", b"1") is True
    assert bucket.read("by-profile/o") == b"1"


async def test_no_credentials(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_aws(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match="no AWS credentials"):
        await S3Store(bucket.name, endpoint_url=bucket.server.endpoint).get("o")


async def test_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_aws(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody"):
        await S3Store("payloads").get("o")


def _no_aws(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nothing of this machine's AWS set-up."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("bucket_name", "path_style", "endpoint", "address"),
    [
        ("b-1", None, "https://s3.eu-west-1.amazonaws.com", "https://b-1.s3.eu-west-1.amazonaws.com"),
        ("b-1", True, "https://s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
        ("b.1", None, "https://s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
        ("b-1", None, "https://s3.cn-north-1.amazonaws.com.cn", "https://b-1.s3.cn-north-1.amazonaws.com.cn"),
        ("b-1", None, "https://minio.example:9000", "https://minio.example:9000"),
        ("b-1", False, "https://minio.example:9000", "https://b-1.minio.example:9000"),
        ("b-1", None, "https://amazonaws.com.example", "https://amazonaws.com.example"),
    ],
)
def test_where_requests_go(bucket_name: str, path_style: bool | None, endpoint: str, address: str) -> None:
    found, in_path = address_of(bucket_name, endpoint, path_style=path_style)
    assert found.geturl() == address
    assert in_path is (address == endpoint)


@pytest.mark.parametrize(
    "name", ["", "ab", "s3://payloads", "pay/loads", "pay loads", "-payloads", "a" * 256]
)
def test_malformed_bucket(name: str) -> None:
    with pytest.raises(ConfigError, match="bucket's name"):
        S3Store(name)


@pytest.mark.parametrize("prefix", ["/", "/prod", "prod//", "../prod", "prod/../dev", "pröd", "p" * 600])
def test_malformed_prefix(prefix: str) -> None:
    with pytest.raises(ConfigError):
        S3Store("payloads", prefix)


def test_longest_prefix_leaves_room_for_the_longest_key() -> None:
    longest = "/".join(["p" * 127] * 4)
    assert len(S3Store("payloads", longest).prefix) == 512
    with pytest.raises(ConfigError, match="at most 512"):
        S3Store("payloads", longest + "p")


def test_key_with_sse_s3() -> None:
    with pytest.raises(ConfigError, match="does not use a KMS key"):
        S3Store("payloads", sse="AES256", kms_key_id="key")


@pytest.mark.parametrize("module", ["aiohttp", "boto3"])
def test_missing_extra_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coatcheck.stores.s3.find_spec", lambda name: None if name == module else object())
    with pytest.raises(ConfigError, match=rf"{module} is not installed.*coatcheck\[s3\]"):
        S3Store("payloads")


def test_making_a_store_loads_nothing() -> None:
    script = (
        "import sys; from coatcheck.stores.s3 import S3Store; S3Store('payloads');"
        "sys.exit(bool({'aiohttp', 'boto3', 'botocore'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
