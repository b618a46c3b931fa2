"""Histories that other tools wrote are read on: those of the SDK's own drivers and of DataDog's codec."""

import dataclasses
import json
import secrets
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.aws.s3driver import S3StorageDriver
from temporalio.contrib.gcp.gcsdriver import GCSStorageDriver
from temporalio.converter import (
    DataConverter,
    ExternalStorage,
    PayloadCodec,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)
from temporalio.worker import Replayer, Worker

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    FileStore,
    FormatError,
    IntegrityError,
    Keyring,
    LimitExceeded,
    Offload,
    PayloadCache,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
    Zstd,
)
from coatcheck.integrations.temporal import (
    ENCODING,
    ClaimCheckPlugin,
    DataDogReader,
    GCSDriverReader,
    S3DriverReader,
    wrap_data_converter,
)
from coatcheck.integrations.temporal.history import payloads_of
from tests.chains import KEY, encrypted_chain
from tests.engines.gcs import GCSServer
from tests.engines.responder import responding
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.foreign import (
    DataDogWriter,
    GCSWriter,
    LargePayloadService,
    S3Writer,
    large_payload_service,
)
from tests.integrations.temporal.workflows import Echo, echo, text
from tests.stores.s3_fixtures import Bucket, session_of

LARGE = 300_000
AUTHORIZATION = {"Authorization": "Bearer right"}
NOWHERE = "http://127.0.0.1:1"
"""Where a request would fail otherwise than the test expects."""
HEX = "ab" * 32
TARGETS = [
    None,
    StorageDriverWorkflowInfo(namespace="default", id="order:42/ä b", run_id="run", type="Type<T>"),
    StorageDriverWorkflowInfo(namespace="default", id="x" * 990, type="Long"),
    StorageDriverActivityInfo(namespace="default", id="..x", type="act"),
]


def s3_reader(bucket: Bucket, *names: str, **settings: Any) -> S3DriverReader:
    session = session_of(bucket.server.access_key, bucket.server.secret_key)
    return S3DriverReader(
        *(names or (bucket.name,)), session=session, endpoint_url=bucket.server.endpoint, **settings
    )


@pytest.fixture(scope="module")
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
def gcs_bucket(google: Any) -> str:
    name = f"bucket-{secrets.token_hex(8)}"
    google.create_bucket(name, retry=None)
    return name


@pytest.fixture
async def service() -> AsyncIterator[LargePayloadService]:
    async with large_payload_service() as service:
        yield service


def payload_of(size: int) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text(size)).encode())


async def stored(driver: StorageDriver, target: Any = None, size: int = LARGE) -> StorageDriverClaim:
    """What the SDK's driver writes for a payload."""
    (claim,) = await driver.store(StorageDriverStoreContext(target=target), [payload_of(size)])
    return claim


async def retrieve(reader: StorageDriver, *claims: StorageDriverClaim) -> list[Payload]:
    return await reader.retrieve(StorageDriverRetrieveContext(), claims)


def changed(claim: StorageDriverClaim, **fields: str) -> StorageDriverClaim:
    return StorageDriverClaim({**claim.claim_data, **fields})


async def migrates(
    server: TemporalServer, folder: Path, before: DataConverter, reader: StorageDriver | PayloadCodec
) -> None:
    """A workflow that another tool started is taken over; one that ran with it is replayed."""
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(FileStore(folder), over=1024), cache=PayloadCache(0))
    plugin = ClaimCheckPlugin(chain, read_also=[reader])
    old = await Client.connect(server.address, namespace=server.namespace, data_converter=before)
    new = await Client.connect(server.address, namespace=server.namespace, plugins=[plugin])
    # A workflow ID with what drivers escape, each in its way.
    queue = workflow_id = f"old:{uuid.uuid4()}/ä %"
    data = text(LARGE)
    handle = await old.start_workflow(Echo.run, data, id=workflow_id, task_queue=queue)
    async with Worker(new, task_queue=queue, workflows=[Echo], activities=[echo]):
        assert await new.get_workflow_handle(workflow_id).result() == data
    history = await handle.fetch_history()
    first, *others = [payload for event in history.events for _, payload in payloads_of(event)]
    assert len(first.SerializeToString()) < 1_000
    assert first.metadata["encoding"] != ENCODING
    assert [payload.metadata["encoding"] for payload in others] == [ENCODING] * 3
    await Replayer(workflows=[Echo], plugins=[plugin]).replay_workflow(history)


def with_driver(driver: StorageDriver) -> DataConverter:
    return dataclasses.replace(DataConverter.default, external_storage=ExternalStorage([driver]))


async def test_workflows_of_the_sdks_s3_driver(
    temporal_server: TemporalServer, bucket: Bucket, tmp_path: Path
) -> None:
    driver = S3StorageDriver(S3Writer(bucket), bucket.name)
    await migrates(temporal_server, tmp_path, with_driver(driver), s3_reader(bucket))


async def test_workflows_of_the_sdks_gcs_driver(
    temporal_server: TemporalServer, gcs_server: GCSServer, google: Any, gcs_bucket: str, tmp_path: Path
) -> None:
    driver = GCSStorageDriver(GCSWriter(google), gcs_bucket)
    reader = GCSDriverReader(gcs_bucket, endpoint_url=gcs_server.endpoint)
    await migrates(temporal_server, tmp_path, with_driver(driver), reader)


async def test_workflows_of_datadogs_codec(
    temporal_server: TemporalServer, service: LargePayloadService, tmp_path: Path
) -> None:
    writer = DataDogWriter(service.url, temporal_server.namespace)
    before = dataclasses.replace(DataConverter.default, payload_codec=writer)
    await migrates(temporal_server, tmp_path, before, DataDogReader(service.url, headers=AUTHORIZATION))
    assert service.asked


async def test_workflows_of_any_other_codec(temporal_server: TemporalServer, tmp_path: Path) -> None:
    class Zlib(PayloadCodec):
        writes = True

        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            assert self.writes
            return [
                Payload(
                    metadata={"encoding": b"binary/zlib"}, data=zlib.compress(payload.SerializeToString())
                )
                for payload in payloads
            ]

        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return [
                Payload.FromString(zlib.decompress(payload.data))
                if payload.metadata["encoding"] == b"binary/zlib"
                else payload
                for payload in payloads
            ]

    writer, reader = Zlib(), Zlib()
    reader.writes = False
    before = dataclasses.replace(DataConverter.default, payload_codec=writer)
    old = await Client.connect(temporal_server.address, data_converter=before)
    plugin = ClaimCheckPlugin(encrypted_chain(), read_also=[reader])
    new = await Client.connect(temporal_server.address, plugins=[plugin])
    queue = workflow_id = f"zlib-{uuid.uuid4()}"
    handle = await old.start_workflow(Echo.run, "small", id=workflow_id, task_queue=queue)
    async with Worker(new, task_queue=queue, workflows=[Echo], activities=[echo]):
        assert await new.get_workflow_handle(workflow_id).result() == "small"
    await Replayer(workflows=[Echo], plugins=[plugin]).replay_workflow(await handle.fetch_history())


@pytest.mark.parametrize("target", TARGETS)
async def test_every_layout_of_the_s3_driver(bucket: Bucket, target: Any) -> None:
    driver = S3StorageDriver(S3Writer(bucket), bucket.name, driver_name="mine")
    reader = s3_reader(bucket, "other-bucket", bucket.name, driver_name="mine").within("default")
    assert (reader.name(), reader.type()) == (driver.name(), driver.type())
    claims = [await stored(driver, target, size) for size in (100, LARGE)]
    assert await retrieve(reader, *claims) == [payload_of(100), payload_of(LARGE)]
    await reader.close()


@pytest.mark.parametrize("target", TARGETS)
async def test_every_layout_of_the_gcs_driver(
    gcs_server: GCSServer, google: Any, gcs_bucket: str, target: Any
) -> None:
    driver = GCSStorageDriver(GCSWriter(google), gcs_bucket)
    reader = GCSDriverReader(gcs_bucket, endpoint_url=gcs_server.endpoint).within("default")
    assert (reader.name(), reader.type()) == (driver.name(), driver.type())
    claims = [await stored(driver, target, size) for size in (100, LARGE)]
    assert await retrieve(reader, *claims) == [payload_of(100), payload_of(LARGE)]
    await reader.close()


CLAIM = StorageDriverClaim(
    {"bucket": "ours", "key": f"v0/ns/default/d/sha256/{HEX}", "hash_algorithm": "sha256", "hash_value": HEX}
)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"bucket": "theirs"}, ConfigError, "'theirs', which S3DriverReader does not read"),
        ({"bucket": ""}, ConfigError, "does not read"),
        ({"key": f"v0/ns/other/d/sha256/{HEX}"}, ConfigError, "another namespace"),
        ({"key": f"v0/ns/default/wt/a/wi/b/ri/c/../d/sha256/{HEX}"}, FormatError, "malformed claim"),
        ({"key": f"secret/d/sha256/{HEX}"}, FormatError, "malformed claim"),
        ({"key": f"v0/ns/default/d/sha256/{HEX}/more"}, FormatError, "malformed claim"),
        ({"key": f"v0/ns/default/d/sha256/{HEX}\n"}, FormatError, "malformed claim"),
        ({"key": f"v0/ns/default/wt/a/wi/{'x' * 1000}/ri/c/d/sha256/{HEX}"}, FormatError, "malformed claim"),
        ({"key": ""}, FormatError, "malformed claim"),
        ({"hash_value": "cd" * 32}, FormatError, "malformed claim"),
        ({"hash_algorithm": "md5"}, FormatError, "malformed claim"),
    ],
)
async def test_a_claim_outside_of_what_was_configured_causes_no_io(
    fields: dict[str, str], error: type[Exception], message: str
) -> None:
    reader = S3DriverReader("ours", endpoint_url=NOWHERE).within("default")
    with pytest.raises(error, match=message):
        await retrieve(reader, changed(CLAIM, **fields))


async def test_an_object_in_the_s3_bucket_is_not_trusted(bucket: Bucket) -> None:
    driver = S3StorageDriver(S3Writer(bucket), bucket.name)
    reader = s3_reader(bucket).within("default")
    small = s3_reader(bucket, max_payload=100_000).within("default")
    claim = await stored(driver)
    with pytest.raises(LimitExceeded, match="at most 100000 were expected"):
        await retrieve(small, claim)
    await small.close()
    key = claim.claim_data["key"]
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"other")
    with pytest.raises(IntegrityError, match="not what the history says") as caught:
        await retrieve(reader, claim)
    assert sha256(b"other").hexdigest() not in str(caught.value)
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(PayloadNotFound):
        await retrieve(reader, claim)
    digest = sha256(b"\xff").hexdigest()
    key = f"v0/ns/default/d/sha256/{digest}"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"\xff")
    with pytest.raises(FormatError, match="not a payload"):
        await retrieve(reader, changed(claim, key=key, hash_value=digest))
    await reader.close()


async def test_an_object_in_the_gcs_bucket_is_not_trusted(
    gcs_server: GCSServer, google: Any, gcs_bucket: str
) -> None:
    driver = GCSStorageDriver(GCSWriter(google), gcs_bucket)
    claim = await stored(driver)
    small = GCSDriverReader(gcs_bucket, endpoint_url=gcs_server.endpoint, max_payload=100_000).within(
        "default"
    )
    with pytest.raises(LimitExceeded, match="at most 100000 were expected"):
        await retrieve(small, claim)
    await small.close()
    reader = GCSDriverReader(gcs_bucket, endpoint_url=gcs_server.endpoint).within("default")
    blob = google.bucket(gcs_bucket).blob(claim.claim_data["object_name"])
    blob.upload_from_string(b"other", retry=None)
    with pytest.raises(IntegrityError, match="not what the history says"):
        await retrieve(reader, claim)
    blob.delete(retry=None)
    with pytest.raises(PayloadNotFound):
        await retrieve(reader, claim)
    await reader.close()


@pytest.mark.parametrize("metadata", [{}, {"remote-codec/key-prefix": b"one/two"}])
async def test_payloads_of_datadogs_codec(service: LargePayloadService, metadata: dict[str, bytes]) -> None:
    payloads = [Payload(metadata={"encoding": b"x", **metadata}, data=bytes([n]) * 10_000) for n in range(3)]
    payloads.append(Payload(metadata={"encoding": b"x"}, data=b"small"))
    encoded = await DataDogWriter(service.url, "ns").encode(payloads)
    reader = DataDogReader(f"{service.url}/", headers=AUTHORIZATION).within("ns")
    assert await reader.decode(encoded) == payloads
    assert len(service.asked) == 3


async def test_a_reference_of_datadogs_own_test_data(service: LargePayloadService) -> None:
    key = (
        "/blobs/test/common/sha256:62c5b63b2e7bccbddd931c896593b25fbab2ea1c12b0e1fb34ca083536c2c066"
        "/sha256:49c18013bca3da7d14edff8e1c2703d60ff89df6a11e0c02b673d0c935c90bfb"
    )
    reference = {
        "metadata": {"baz": "cXV4", "foo": "YmFy"},
        "size": 52,
        "digest": "sha256:62c5b63b2e7bccbddd931c896593b25fbab2ea1c12b0e1fb34ca083536c2c066",
        "key": key,
    }
    payload = Payload(metadata={"temporal.io/remote-codec": b"v2"}, data=json.dumps(reference).encode())
    reader = DataDogReader(service.url, headers=AUTHORIZATION).within("test")
    with pytest.raises(PayloadNotFound):
        await reader.decode([payload])
    assert service.asked == [key]


async def test_what_datadogs_service_gives_is_not_trusted(service: LargePayloadService) -> None:
    (encoded,) = await DataDogWriter(service.url, "ns").encode([Payload(data=b"x" * 1000)])
    reader = DataDogReader(service.url, headers=AUTHORIZATION).within("ns")
    (key,) = service.blobs
    for body in (b"y" * 1000, b"x" * 999, b"x" * 1001, b""):
        service.blobs[key] = body
        with pytest.raises(IntegrityError):
            await reader.decode([encoded])
    service.blobs.clear()
    with pytest.raises(PayloadNotFound):
        await reader.decode([encoded])
    with pytest.raises(StoreDenied):
        await DataDogReader(service.url).within("ns").decode([encoded])
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await DataDogReader(NOWHERE).within("ns").decode([encoded])


async def test_datadogs_service_cannot_send_the_reader_elsewhere(service: LargePayloadService) -> None:
    (encoded,) = await DataDogWriter(service.url, "ns").encode([Payload(data=b"x" * 1000)])
    async with responding(302, "", {"Location": f"{service.url}/v2/blobs/get"}) as elsewhere:
        with pytest.raises(StoreUnavailable, match="answers 302"):
            await DataDogReader(elsewhere, headers=AUTHORIZATION).within("ns").decode([encoded])
    assert not service.asked


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": f"/blobs/other/common/sha256:{HEX}/sha256:{HEX}"}, ConfigError),
        ({"key": f"/blobs/ns/common/../other/sha256:{HEX}/sha256:{HEX}"}, ConfigError),
        ({"key": f"/blobs/ns/common/sha256:{'cd' * 32}/sha256:{HEX}"}, ConfigError),
        ({"key": "http://elsewhere/"}, ConfigError),
        ({"digest": f"md5:{HEX}"}, FormatError),
        ({"size": -1}, FormatError),
        ({"size": 2**30}, LimitExceeded),
        ({"metadata": {"encoding": "not base64!"}}, FormatError),
        ({"metadata": 7}, FormatError),
    ],
)
async def test_a_reference_of_datadogs_outside_of_what_was_configured_causes_no_io(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    reference = {
        "metadata": {},
        "size": 5,
        "digest": f"sha256:{HEX}",
        "key": f"/blobs/ns/common/sha256:{HEX}/sha256:{HEX}",
        **changes,
    }
    payload = Payload(metadata={"temporal.io/remote-codec": b"v2"}, data=json.dumps(reference).encode())
    with pytest.raises(error):
        await DataDogReader(NOWHERE).within("ns").decode([payload])


async def test_version_1_of_datadogs_codec_is_refused() -> None:
    payload = Payload(metadata={"temporal.io/remote-codec": b"v1"}, data=b"{}")
    with pytest.raises(FormatError, match="reads version v2"):
        await DataDogReader(NOWHERE).within("ns").decode([payload])


@pytest.mark.parametrize("url", ["localhost:8577", "ftp://host", "http://user@host", "http://host?x", ""])
def test_a_service_is_named_by_an_address(url: str) -> None:
    with pytest.raises(ConfigError, match="not an http or https address"):
        DataDogReader(url)


async def test_readers_only_read() -> None:
    with pytest.raises(ConfigError, match="S3DriverReader only reads"):
        await S3DriverReader("ours").store(StorageDriverStoreContext(), [])
    with pytest.raises(ConfigError, match="DataDogReader only reads"):
        await DataDogReader(NOWHERE).encode([])


async def test_a_reader_reads_for_one_namespace() -> None:
    with pytest.raises(ConfigError, match="no namespace"):
        await retrieve(S3DriverReader("ours"), CLAIM)
    with pytest.raises(ConfigError, match="no namespace"):
        await DataDogReader(NOWHERE).decode([Payload(metadata={"temporal.io/remote-codec": b"v2"})])
    with pytest.raises(ConfigError, match="reads from no bucket"):
        GCSDriverReader()


def test_readers_are_part_of_what_a_converter_is_wrapped_with() -> None:
    chain = encrypted_chain()
    readers: list[StorageDriver | PayloadCodec] = [S3DriverReader("ours"), DataDogReader(NOWHERE)]
    wrapped = wrap_data_converter(DataConverter.default, chain, read_also=readers)
    assert wrap_data_converter(wrapped, chain, read_also=readers) is wrapped
    with pytest.raises(ConfigError, match="already has the codec"):
        wrap_data_converter(wrapped, chain)
    with pytest.raises(ConfigError, match="multiple drivers with name"):
        wrap_data_converter(
            DataConverter.default, chain, read_also=[S3DriverReader("one"), S3DriverReader("two")]
        )
