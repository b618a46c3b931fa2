"""The proxy as boto3 sees it, in front of the real server."""

import asyncio
from collections import Counter

import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    HTTPClientError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from mypy_boto3_s3 import S3Client

from tests.engines.fault_proxy import Fault, FaultProxy, Request, seeded
from tests.stores.s3_fixtures import Bucket, session_of

_DATA = bytes(range(256)) * 1_000


def _client(proxy: FaultProxy, bucket: Bucket, patience: float = 30) -> S3Client:
    session = session_of(bucket.server.access_key, bucket.server.secret_key)
    once = Config(retries={"total_max_attempts": 1}, read_timeout=patience)
    return session.client("s3", endpoint_url=proxy.endpoint, config=once)


def _put(client: S3Client, bucket: Bucket, key: str) -> None:
    client.put_object(Bucket=bucket.name, Key=key, Body=_DATA)


def _get(client: S3Client, bucket: Bucket, key: str) -> bytes:
    return client.get_object(Bucket=bucket.name, Key=key)["Body"].read()


async def test_nothing_is_spoilt_without_a_plan(bucket: Bucket) -> None:
    async with FaultProxy(bucket.server.endpoint) as proxy:
        client = _client(proxy, bucket)
        await asyncio.to_thread(_put, client, bucket, "whole")
        assert await asyncio.to_thread(_get, client, bucket, "whole") == _DATA
        seen = await asyncio.to_thread(client.head_object, Bucket=bucket.name, Key="whole")
        assert seen["ContentLength"] == len(_DATA)
        listed = await asyncio.to_thread(client.list_objects_v2, Bucket=bucket.name, Prefix="whole")
        assert [found.get("Key") for found in listed.get("Contents", [])] == ["whole"]
        await asyncio.to_thread(client.delete_object, Bucket=bucket.name, Key="whole")
        assert bucket.read("whole") is None
        assert [request.method for request, _ in proxy.record] == ["PUT", "GET", "HEAD", "GET", "DELETE"]
        assert {fault for _, fault in proxy.record} == {Fault.NONE}


@pytest.mark.parametrize(("fault", "asks"), [(Fault.BUSY, None), (Fault.BUSY_RETRY_AFTER, "7")])
async def test_busy(bucket: Bucket, fault: Fault, asks: str | None) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: fault, retry_after=7) as proxy:
        with pytest.raises(ClientError) as raised:
            await asyncio.to_thread(_put, _client(proxy, bucket), bucket, "busy")
    assert raised.value.response.get("Error", {}).get("Code") == "SlowDown"
    answer = raised.value.response.get("ResponseMetadata")
    assert answer is not None
    assert answer["HTTPStatusCode"] == 503
    assert answer["HTTPHeaders"].get("retry-after") == asks
    assert bucket.read("busy") is None


async def test_reset(bucket: Bucket) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.RESET) as proxy:
        with pytest.raises(HTTPClientError, match="reset"):
            await asyncio.to_thread(_get, _client(proxy, bucket), bucket, "reset")


async def test_silence(bucket: Bucket) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.SILENT) as proxy:
        with pytest.raises(ReadTimeoutError):
            await asyncio.to_thread(_put, _client(proxy, bucket, patience=0.5), bucket, "silent")
        await proxy.abandoned()
    assert bucket.read("silent") is None


async def test_slow_body_is_whole(bucket: Bucket) -> None:
    _put(bucket.client, bucket, "slow")
    clock = asyncio.get_running_loop().time
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.SLOW, pause=0.2) as proxy:
        started = clock()
        assert await asyncio.to_thread(_get, _client(proxy, bucket), bucket, "slow") == _DATA
        assert clock() - started >= 0.2


async def test_truncated_body(bucket: Bucket) -> None:
    _put(bucket.client, bucket, "truncated")
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.TRUNCATED) as proxy:
        with pytest.raises(ResponseStreamingError, match=f"{len(_DATA) // 2} bytes read"):
            await asyncio.to_thread(_get, _client(proxy, bucket), bucket, "truncated")


async def test_lost_acknowledgement_of_what_was_done(bucket: Bucket) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.LOST_ACKNOWLEDGEMENT) as proxy:
        with pytest.raises(ConnectionClosedError):
            await asyncio.to_thread(_put, _client(proxy, bucket), bucket, "lost")
    assert bucket.read("lost") == _DATA


def test_seeded_plan_repeats_itself() -> None:
    get, put = (Request(method, "/", b"", b"") for method in ("GET", "PUT"))
    first, again, other = seeded(1, 0.25), seeded(1, 0.25), seeded(2, 0.25)
    drawn = [first(request) for request in (get, put) * 2_000]
    assert drawn == [again(request) for request in (get, put) * 2_000]
    assert drawn != [other(request) for request in (get, put) * 2_000]
    counts = Counter(drawn)
    assert 900 < 4_000 - counts[Fault.NONE] < 1_100
    assert set(Fault) - set(counts) == {Fault.SILENT}
    assert Fault.LOST_ACKNOWLEDGEMENT not in drawn[::2]
    assert not {Fault.SLOW, Fault.TRUNCATED} & set(drawn[1::2])
