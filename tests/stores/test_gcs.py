"""GCSStore on fake-gcs-server, which honours preconditions, checksums and pages."""

import asyncio
import gc
import secrets
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import google_crc32c
import pytest
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError, IntegrityError, PayloadNotFound, StoreUnavailable
from coatcheck.stores.gcs import GCSStore
from coatcheck.testing import StoreSuite
from tests.engines.fault_proxy import Fault, FaultProxy, Plan, Request, no_faults
from tests.engines.gcs import GCSServer
from tests.stores.operations import failures_of_all


@pytest.fixture(scope="session")
def google(gcs_server: GCSServer) -> Iterator[Any]:
    """Google's own client."""
    client = storage.Client(
        project="tests",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": gcs_server.endpoint},
    )
    yield client
    client.close()


@pytest.fixture
def bucket(google: Any) -> Any:
    """A bucket of its own for each test."""
    return google.create_bucket(f"bucket-{secrets.token_hex(8)}", retry=None)


@pytest.fixture
async def store(gcs_server: GCSServer, bucket: Any) -> AsyncIterator[GCSStore]:
    made = GCSStore(bucket.name, endpoint_url=gcs_server.endpoint)
    yield made
    await made.close()


@asynccontextmanager
async def _through_proxy(
    server: GCSServer, bucket: Any, plan: Plan = no_faults, *, retry_after: int = 1, **arguments: Any
) -> AsyncIterator[tuple[FaultProxy, GCSStore]]:
    """A store that reaches the server through a proxy."""
    async with FaultProxy(server.endpoint, plan, retry_after=retry_after) as proxy:
        store = GCSStore(bucket.name, endpoint_url=proxy.endpoint, **arguments)
        try:
            yield proxy, store
        finally:
            await store.close()
            await proxy.abandoned()


def _always(fault: Fault) -> Plan:
    return lambda _request: fault


class TestGCSStore(StoreSuite):
    @pytest.fixture
    async def store(self, gcs_server: GCSServer, bucket: Any) -> AsyncIterator[GCSStore]:
        made = GCSStore(bucket.name, "some/where/", endpoint_url=gcs_server.endpoint)
        yield made
        await made.close()

    @pytest.fixture(autouse=True)
    def _reach(self, bucket: Any) -> None:
        self.bucket = bucket

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        blob = self.bucket.blob(f"some/where/{key}")
        try:
            data: bytes = await asyncio.to_thread(blob.download_as_bytes, retry=None)
        except NotFound:
            return None
        return data

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        blob = self.bucket.blob(f"some/where/{key}")
        await asyncio.to_thread(blob.upload_from_string, data, retry=None)


async def test_one_of_racing_processes_wins(gcs_server: GCSServer, bucket: Any) -> None:
    """Each writer has connections of its own, as a process of its own has."""
    stores = [GCSStore(bucket.name, endpoint_url=gcs_server.endpoint) for _ in range(64)]
    outcomes = await asyncio.gather(*(one.create("a/race", b"%d" % n) for n, one in enumerate(stores)))
    assert sum(outcomes) == 1
    assert {await one.get("a/race") for one in stores} == {b"%d" % outcomes.index(True)}
    assert [blob.name for blob in bucket.list_blobs(retry=None)] == ["a/race"]
    await asyncio.gather(*(one.close() for one in stores))


async def test_thousand_puts_over_one_connection(gcs_server: GCSServer, bucket: Any) -> None:
    async with _through_proxy(gcs_server, bucket, connections=1, timeout=5) as (proxy, store):
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*(store.create(f"a/{n}", b"x" * 1_000) for n in range(1_000)))
        assert all(outcomes)
        assert proxy._connections
        assert len(proxy._connections) == 1


async def test_new_object_is_one_request(gcs_server: GCSServer, bucket: Any) -> None:
    async with _through_proxy(gcs_server, bucket) as (proxy, store):
        assert await store.create("a", b"1") is True
        assert [(request.method, "ifGenerationMatch=0" in request.target) for request, _ in proxy.record] == [
            ("POST", True)
        ]
        assert await store.create("a", b"2") is False
        assert await store.get("a") == b"1"
        await store.delete("a")
        with pytest.raises(PayloadNotFound):
            await store.get("a")
        # This server answers a DELETE without a word of Google's, so one more request asks for the object; its 404 does not
        # say what is missing, so one more asks for the bucket.
        assert [request.method for request, _ in proxy.record] == [
            "POST",
            "POST",
            "GET",
            "DELETE",
            "GET",
            "GET",
            "GET",
        ]


async def test_listing_is_paged(gcs_server: GCSServer, bucket: Any) -> None:
    async with _through_proxy(gcs_server, bucket) as (proxy, store):
        await asyncio.gather(*(store.create(f"a/{n:04}", b"1") for n in range(2_001)))
        proxy.record.clear()
        assert [found.key async for found in store.list_objects("a/")] == [f"a/{n:04}" for n in range(2_001)]
        assert len(proxy.record) == 3


async def test_googles_view(store: GCSStore, bucket: Any) -> None:
    data = secrets.token_bytes(300_000)
    await store.create("a/b", data)
    blob = bucket.get_blob("a/b", retry=None)
    assert blob is not None
    assert blob.size == len(data)
    assert blob.content_type == "application/octet-stream"
    first = blob.generation
    await store.replace("a/b", b"2")
    blob = bucket.get_blob("a/b", retry=None)
    assert blob.generation > first
    (found,) = [found async for found in store.list_objects()]
    assert (found.size, found.modified) == (1, blob.time_created)


async def test_prefixes_share_a_bucket_and_nothing_else(gcs_server: GCSServer, bucket: Any) -> None:
    stores = [GCSStore(bucket.name, prefix, endpoint_url=gcs_server.endpoint) for prefix in ("a", "ab", "")]
    for number, one in enumerate(stores):
        assert await one.create("k", b"%d" % number)
    assert [await one.get("k") for one in stores] == [b"0", b"1", b"2"]
    assert [found.key async for found in stores[0].list_objects("k")] == ["k"]
    assert sorted([found.key async for found in stores[2].list_objects()]) == ["a/k", "ab/k", "k"]
    await asyncio.gather(*(one.close() for one in stores))


def test_forgotten_store_closes_with_its_loop(
    gcs_server: GCSServer, bucket: Any, recwarn: pytest.WarningsRecorder
) -> None:
    async def use() -> None:
        await GCSStore(bucket.name, endpoint_url=gcs_server.endpoint).create("a", b"1")

    asyncio.run(use())
    gc.collect()
    assert not recwarn.list


async def test_missing_bucket_is_named(gcs_server: GCSServer) -> None:
    store = GCSStore("no-such-bucket", endpoint_url=gcs_server.endpoint)
    failures = await failures_of_all(store)
    assert [type(failure) for failure in failures] == [ConfigError] * 5
    assert all("'no-such-bucket'" in str(failure) for failure in failures)
    await store.close()


async def test_damage_on_the_way_keeps_nothing(store: GCSStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_crc32c, "value", lambda _data: 1)
    for write in (store.create, store.replace):
        with pytest.raises(StoreUnavailable, match="CRC32C"):
            await write("a", b"1")
    monkeypatch.undo()
    with pytest.raises(PayloadNotFound):
        await store.get("a")


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.RESET, Fault.LOST_ACKNOWLEDGEMENT])
async def test_fault_is_unavailable(gcs_server: GCSServer, bucket: Any, fault: Fault) -> None:
    async with _through_proxy(gcs_server, bucket, _always(fault)) as (proxy, store):
        failures = await failures_of_all(store)
        assert [type(failure) for failure in failures] == [StoreUnavailable] * 5
        # Reading may be repeated once, by the HTTP client; writing never.
        assert sum(request.method == "POST" for request, _ in proxy.record) == 2
        assert len(proxy.record) <= 8


async def test_busy_service_says_when(gcs_server: GCSServer, bucket: Any) -> None:
    async with _through_proxy(gcs_server, bucket, _always(Fault.BUSY_RETRY_AFTER), retry_after=7) as (
        _,
        store,
    ):
        with pytest.raises(StoreUnavailable, match="503") as caught:
            await store.get("a")
        assert caught.value.retry_after == 7


async def test_lost_acknowledgement_is_found_again(gcs_server: GCSServer, bucket: Any) -> None:
    faults = iter([Fault.LOST_ACKNOWLEDGEMENT])
    async with _through_proxy(gcs_server, bucket, lambda _request: next(faults, Fault.NONE)) as (_, store):
        with pytest.raises(StoreUnavailable):
            await store.create("a", b"1")
        assert await store.create("a", b"1") is False
        assert await store.get("a") == b"1"


async def test_truncated_answer_is_no_object(gcs_server: GCSServer, bucket: Any) -> None:
    def plan(request: Request) -> Fault:
        return Fault.TRUNCATED if request.method == "GET" else Fault.NONE

    async with _through_proxy(gcs_server, bucket, plan) as (_, store):
        await store.create("a", b"1" * 1_000)
        with pytest.raises(StoreUnavailable):
            await store.get("a")
        with pytest.raises(StoreUnavailable):
            await anext(store.list_objects())


async def test_damage_on_the_way_back_was_handed_on(gcs_server: GCSServer, bucket: Any) -> None:
    """The service gives the checksum of what it sends, and nobody compared it."""

    def plan(request: Request) -> Fault:
        return Fault.FLIPPED if request.method == "GET" else Fault.NONE

    async with _through_proxy(gcs_server, bucket, plan) as (_, store):
        await store.create("a", b"1" * 1_000)
        with pytest.raises(IntegrityError, match="CRC32C") as caught:
            await store.get("a")
        assert caught.value.object_id == "a"


async def test_silent_service_is_bounded_in_time(gcs_server: GCSServer, bucket: Any) -> None:
    async with (
        asyncio.timeout(60),
        _through_proxy(gcs_server, bucket, _always(Fault.SILENT), timeout=0.2) as (_, store),
    ):
        failures = await failures_of_all(store)
        assert [type(failure) for failure in failures] == [StoreUnavailable] * 5


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = GCSStore("bucket", endpoint_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        failures = await failures_of_all(store)
        await store.close()
    assert [type(failure) for failure in failures] == [StoreUnavailable] * 5
    assert [failure.object_id for failure in failures if failure] == ["a"] * 4 + [""]


async def test_cancelled_upload_leaves_nothing_partial(gcs_server: GCSServer, bucket: Any) -> None:
    data = bytes(8 << 20)
    async with _through_proxy(gcs_server, bucket, _always(Fault.SILENT)) as (proxy, store):
        upload = asyncio.ensure_future(store.create("a", data))
        await proxy.arrived(1)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
    assert list(bucket.list_blobs(retry=None)) == []


@pytest.mark.parametrize("name", ["", "a", "gs://bucket", "Bucket", "a/b", "bucket?x", "-bucket", "b" * 223])
def test_malformed_bucket(name: str) -> None:
    with pytest.raises(ConfigError, match="not a bucket name"):
        GCSStore(name)


@pytest.mark.parametrize("prefix", ["/", "..", "a//b", "a b", "%", "/".join(["a" * 200] * 3)])
def test_malformed_prefix(prefix: str) -> None:
    with pytest.raises(ConfigError):
        GCSStore("bucket", prefix)


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:80", "ftp://host", "http://", "https://u:secret@host", "http://h/?q"]
)
def test_malformed_endpoint(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="http or https") as caught:
        GCSStore("bucket", endpoint_url=endpoint)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_no_connections_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="connection"):
        GCSStore("bucket", connections=0)


@pytest.mark.parametrize("package", ["aiohttp", "google.auth", "google_crc32c"])
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for module in ("google.client", "google.identity", "runtime.http", "stores._gcs.bucket"):
        monkeypatch.delitem(sys.modules, f"coatcheck.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'coatcheck\[gcs\]'"):
        GCSStore("bucket")


def test_store_loads_no_client_of_googles() -> None:
    """It takes as long to import as all the rest, and only administration needs it."""
    script = "import sys; from coatcheck import GCSStore; GCSStore('bucket'); print('google.cloud.storage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
