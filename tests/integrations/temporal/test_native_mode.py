"""Native mode on the real server: references are Temporal's own."""

import dataclasses
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.converter import (
    DataConverter,
    JSONProtoPayloadConverter,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    WorkflowSerializationContext,
    _extstore,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from benchmarks.loads.counted import Counted
from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    FileStore,
    FormatError,
    IntegrityError,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Reference,
    Zstd,
)
from coatcheck.integrations.temporal import (
    ENCODING,
    ClaimCheckPlugin,
    Mode,
    from_native,
    wrap_data_converter,
)
from coatcheck.integrations.temporal.history import payloads_of
from coatcheck.integrations.temporal.native import DRIVER, ClaimCheckDriver, is_native, to_native
from tests.chains import KEY, encrypted_chain, plain_chain
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.everything import (
    ACTIVITIES,
    LARGE,
    NAMES,
    WORKFLOWS,
    chain_in,
    connect,
    run_everything,
)
from tests.integrations.temporal.task_failures import task_failure
from tests.integrations.temporal.workflows import Echo, text

NAMED = JSONProtoPayloadConverter()
MODES: tuple[Mode, ...] = ("codec", "native")
OTHER: dict[Mode, Mode] = {"codec": "native", "native": "codec"}
REFERENCE = Reference(
    suite=1, key_id=KEY.id, run_tag=bytes(16), object_id=bytes(32), size=LARGE, store="default"
)


def in_history(history: WorkflowHistory) -> list[Payload]:
    return [payload for event in history.events for _, payload in payloads_of(event)]


def converter(chain: Chain, mode: Mode = "native", run: str = "run") -> DataConverter:
    wrapped = wrap_data_converter(DataConverter.default, chain, namespace="ns", mode=mode)
    return wrapped.with_context(WorkflowSerializationContext("ns", run))


async def test_every_large_payload_of_a_workflow_stands_as_a_reference_of_temporals_own(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path), "native")
    handle = await run_everything(client, client)
    history = await handle.fetch_history()
    payloads = in_history(history)
    natives = [payload for payload in payloads if payload.external_payloads]
    # Input, memo, signal, update and its result; four activities, each with an input, and three with results;
    # a child with both; a failure's detail; and what the next run is given.
    assert len(natives) == 16, [
        (event.event_id, EventType.Name(event.event_type), place, payload.ByteSize())
        for event in history.events
        for place, payload in payloads_of(event)
    ]
    assert all(map(is_native, natives))
    assert all(native.external_payloads[0].size_bytes > LARGE for native in natives)
    # What the SDK's core notes of a local activity passes no codec: its number and when it ran.
    plain = [payload for payload in payloads if not payload.external_payloads]
    assert [payload.data[:9] for payload in plain if payload.metadata["encoding"] != ENCODING] == [
        b'{"seq":2,'
    ]
    raw = b"".join(event.SerializeToString() for event in history.events)
    assert len(raw) < 14_000
    assert not any(text(LARGE, name)[:16].encode() in raw for name in NAMES)
    for mode in MODES:
        plugin = ClaimCheckPlugin(chain_in(tmp_path), mode=mode)
        await Replayer(workflows=WORKFLOWS, plugins=[plugin]).replay_workflow(history)


async def test_the_server_counts_what_is_outside(temporal_server: TemporalServer, tmp_path: Path) -> None:
    client = await connect(temporal_server, chain_in(tmp_path), "native")
    queue = workflow_id = f"counted-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await client.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
        await handle.result()
    info = (await handle.describe()).raw_description.workflow_execution_info
    sizes = [payload.external_payloads[0].size_bytes for payload in in_history(await handle.fetch_history())]
    assert len(sizes) == 4
    assert (info.external_payload_count, info.external_payload_size_bytes) == (4, sum(sizes))


@pytest.mark.parametrize("mode", MODES)
async def test_each_mode_works_on_what_the_other_writes(
    temporal_server: TemporalServer, tmp_path: Path, mode: Mode
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path), mode)
    worker = await connect(temporal_server, chain_in(tmp_path), OTHER[mode])
    handle = await run_everything(client, worker)
    payloads = in_history(await handle.fetch_history())
    assert {bool(payload.external_payloads) for payload in payloads} == {True, False}
    large = [payload for payload in payloads if payload.ByteSize() > 100 and not payload.external_payloads]
    assert large


async def test_replay_after_eviction_makes_no_new_object(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path), "native")
    queue = workflow_id = f"evicted-{uuid.uuid4()}"
    async with Worker(
        client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, max_cached_workflows=0
    ):
        data = text(LARGE)
        assert await client.execute_workflow(Echo.run, data, id=workflow_id, task_queue=queue) == data
    assert len([entry async for entry in FileStore(tmp_path).list_objects()]) == 1


async def test_a_worker_without_the_chain_says_so(temporal_server: TemporalServer, tmp_path: Path) -> None:
    with_chain = await connect(temporal_server, chain_in(tmp_path), "native")
    without = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    queue = workflow_id = f"bare-{uuid.uuid4()}"
    handle = await with_chain.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
    async with Worker(without, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        message = await task_failure(handle.id, with_chain)
    await handle.terminate()
    assert "external storage is not configured" in message


async def test_a_missing_object_keeps_the_workflow_alive_until_it_is_restored(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path), "native")
    queue = workflow_id = f"missing-{uuid.uuid4()}"
    handle = await client.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    hidden = path.rename(tmp_path.with_name("hidden"))
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        assert "no such object" in await task_failure(workflow_id, client)
        hidden.rename(path)
        assert await handle.result() == text(LARGE)


async def test_a_result_above_the_cap_fails_the_activity_for_good(temporal_server: TemporalServer) -> None:
    chain = Chain(Zstd(), Offload(MemoryStore()), max_payload=10_000)
    client = await connect(temporal_server, chain, "native")
    queue = workflow_id = f"too-large-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=[make_large]):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
    cause = caught.value.cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == ("LimitExceeded", True)


@activity.defn(name="echo")
async def make_large(data: str) -> str:
    return data * 20_000


async def test_a_worker_that_only_decodes_reads_native_references(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path), "native")
    offload = Offload(FileStore(tmp_path), over=1024)
    back = Chain(Zstd(), Encrypt(Keyring(KEY)), offload, decode_only=True, cache=PayloadCache(0))
    worker = await connect(temporal_server, back, "native")
    queue = workflow_id = f"rolled-back-{uuid.uuid4()}"
    async with Worker(worker, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await client.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
        assert await handle.result() == text(LARGE)
    natives = [bool(payload.external_payloads) for payload in in_history(await handle.fetch_history())]
    assert natives == [True, False, False, False]


@pytest.mark.parametrize("chain", [encrypted_chain(), plain_chain()], ids=["encrypted", "plain"])
async def test_a_native_reference_has_the_true_size_and_one_form(chain: Chain) -> None:
    native = converter(chain)
    (payload,) = await native.encode(["x" + text(1_000_000)])
    (plain,) = DataConverter.default.payload_converter.to_payloads(["x" + text(1_000_000)])
    assert payload.external_payloads[0].size_bytes == plain.ByteSize()
    assert payload.ByteSize() <= 280
    assert await native.encode(["x" + text(1_000_000)]) == [payload]
    assert await native.decode([payload]) == ["x" + text(1_000_000)]
    own = from_native(payload)
    assert own is not None
    assert (await converter(chain, "codec").encode(["x" + text(1_000_000)])) == [own]


async def test_the_codec_alone_reads_native_references() -> None:
    """A codec server has no storage step."""
    native = converter(encrypted_chain())
    assert native.payload_codec is not None
    encoded = await native.encode([text(LARGE), "small"])
    decoded = await native.payload_codec.decode(encoded)
    assert native.payload_converter.from_payloads(decoded) == [text(LARGE), "small"]


async def test_small_payloads_are_the_same_in_both_modes() -> None:
    chain = encrypted_chain()
    assert await converter(chain).encode(["small"]) == await converter(chain, "codec").encode(["small"])


async def test_a_reference_is_verified_before_anything_is_fetched() -> None:
    store = Counted(MemoryStore())
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=256), cache=PayloadCache(0))
    (payload,) = await converter(chain).encode([text(LARGE)])
    own = from_native(payload)
    assert own is not None
    forged = Reference.from_bytes(own.data).model_copy(update={"size": 7})
    store.forget_counts()
    with pytest.raises(IntegrityError, match="another run"):
        await converter(chain, run="other").decode([payload])
    with pytest.raises(IntegrityError):
        await converter(chain).decode([to_native(forged)])
    assert not store.requests


@pytest.mark.parametrize("claim", [{}, {"reference": ""}, {"reference": "s3://other"}, {"key": "x"}])
async def test_a_malformed_claim_is_a_format_error(claim: dict[str, str]) -> None:
    payload = NAMED.to_payload(ExternalStorageReference(driver_name=DRIVER, claim_data=claim))
    assert payload is not None
    with pytest.raises(FormatError):
        await converter(encrypted_chain()).decode([payload])
    with pytest.raises(FormatError):
        from_native(payload)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"driverName": 1}'])
def test_a_malformed_reference_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        from_native(Payload(metadata=to_native(REFERENCE).metadata, data=data))


@pytest.mark.parametrize(
    "change",
    [
        {"claim_data": {"reference": str(REFERENCE), "note": "SECRET"}},
        {"claim_data": {"reference": "SECRET"}},
        {"driver_name": "SECRET", "claim_data": {"reference": str(REFERENCE)}},
    ],
)
async def test_what_only_looks_like_a_reference_of_ours_is_sealed(change: dict[str, Any]) -> None:
    value = ExternalStorageReference(**{"driver_name": DRIVER, **change})
    for mode in MODES:
        (payload,) = await converter(encrypted_chain(over=10_000), mode).encode([value])
        assert payload.metadata["encoding"] == ENCODING
        assert b"SECRET" not in payload.SerializeToString()


@pytest.mark.parametrize("over", [0, 256])
async def test_references_that_the_sdk_has_the_codec_encode(
    temporal_server: TemporalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: int
) -> None:
    if not hasattr(_extstore, "_ENCODE_STORAGE_REFERENCES"):
        pytest.skip("this release of temporalio cannot be told to")
    monkeypatch.setattr(_extstore, "_ENCODE_STORAGE_REFERENCES", True)
    client = await connect(temporal_server, chain_in(tmp_path, over), "native")
    handle = await run_everything(client, client)
    natives = [payload for payload in in_history(await handle.fetch_history()) if payload.external_payloads]
    assert len(natives) >= 16
    assert all(native.metadata["__temporal_external_storage_reference"] == b"true" for native in natives)


async def test_nothing_is_stored_without_the_codec() -> None:
    storage = converter(encrypted_chain()).external_storage
    assert storage is not None
    (driver,) = storage.drivers
    assert (driver.name(), driver.type()) == (DRIVER, DRIVER)
    payload = Payload(data=b"SECRET" * 1_000_000)
    assert await storage._store_payload(payload) is payload
    with pytest.raises(ConfigError, match="without its codec"):
        await driver.store(StorageDriverStoreContext(), [payload])


async def test_reading_a_claim_needs_no_store() -> None:
    claim = StorageDriverClaim({"reference": str(REFERENCE)})
    payloads = await ClaimCheckDriver().retrieve(StorageDriverRetrieveContext(), [claim, claim])
    assert payloads == [Payload(metadata={"encoding": ENCODING}, data=REFERENCE.to_bytes())] * 2


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="no mode 'naitve'"):
        wrap_data_converter(DataConverter.default, encrypted_chain(), mode="naitve")  # type: ignore[arg-type]


def test_wrapping_twice_in_one_mode_is_wrapping_once() -> None:
    chain = encrypted_chain()
    wrapped = wrap_data_converter(DataConverter.default, chain, mode="native")
    assert wrap_data_converter(wrapped, chain, mode="native") is wrapped
    with pytest.raises(ConfigError, match="already has the codec ClaimCheckCodec"):
        wrap_data_converter(wrapped, chain)
    halved = dataclasses.replace(wrapped, external_storage=None)
    with pytest.raises(ConfigError, match="already has the codec ClaimCheckCodec"):
        wrap_data_converter(halved, chain, mode="native")
