"""Codec mode on the real server."""

import dataclasses
import shutil
import uuid
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    ExternalStorage,
    PayloadCodec,
    StorageDriver,
    StorageDriverClaim,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.worker import Replayer, Worker

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    FileStore,
    FormatError,
    IntegrityError,
    Key,
    Keyring,
    KeyUnavailable,
    LimitExceeded,
    MemoryStore,
    Offload,
    PayloadNotFound,
    Zstd,
)
from coatcheck.integrations.temporal import ENCODING, ClaimCheckCodec, ClaimCheckPlugin, wrap_data_converter
from tests.chains import KEY, OTHER_KEY, encrypted_chain, keys_in, plain_chain
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


async def history_bytes(client: Client, workflow_id: str) -> bytes:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def test_every_path_of_one_workflow_with_large_payloads(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    history = await (await run_everything(client, client)).fetch_history()
    raw = b"".join(event.SerializeToString() for event in history.events)
    assert len(raw) < 12_000
    assert not any(text(LARGE, name)[:16].encode() in raw for name in NAMES)
    plugin = ClaimCheckPlugin(chain_in(tmp_path))
    await Replayer(workflows=WORKFLOWS, plugins=[plugin]).replay_workflow(history)


async def test_replay_after_eviction_makes_no_new_object(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    store = FileStore(tmp_path)
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"evicted-{uuid.uuid4()}"
    async with Worker(
        client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, max_cached_workflows=0
    ):
        assert await client.execute_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue) == text(
            LARGE
        )
    # Input, activity input, activity result and result are one payload: one object.
    assert len([entry async for entry in store.list_objects()]) == 1


async def test_failures_are_encoded_when_the_chain_encrypts(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"failing-{uuid.uuid4()}"

    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=[fail_with_secret]):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
    assert caught.value.cause.__cause__ is not None
    assert "SECRET-MESSAGE" in str(caught.value.cause.__cause__)
    raw = await history_bytes(client, workflow_id)
    assert b"SECRET-MESSAGE" not in raw
    assert b"Encoded failure" in raw


@activity.defn(name="echo")
async def fail_with_secret(data: str) -> str:
    raise ApplicationError(f"SECRET-MESSAGE {data}", non_retryable=True)


async def test_a_worker_without_the_chain_says_so(temporal_server: TemporalServer, tmp_path: Path) -> None:
    with_chain = await connect(temporal_server, chain_in(tmp_path))
    without = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    queue = workflow_id = f"bare-{uuid.uuid4()}"
    async with Worker(without, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await with_chain.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
        message = await task_failure(handle.id, with_chain)
    await handle.terminate()
    assert "binary/coatcheck" in message


async def test_a_missing_object_keeps_the_workflow_alive_until_it_is_restored(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    chain = chain_in(tmp_path)
    client = await connect(temporal_server, chain)
    queue = workflow_id = f"missing-{uuid.uuid4()}"
    handle = await client.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    hidden = path.rename(tmp_path.with_name("hidden"))
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        assert "no such object" in await task_failure(workflow_id, client)
        hidden.rename(path)
        assert await handle.result() == text(LARGE)


async def test_a_tampered_object_never_reaches_workflow_code(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"tampered-{uuid.uuid4()}"
    handle = await client.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        assert "tampered" in await task_failure(workflow_id, client)
        path.write_bytes(good)
        assert await handle.result() == text(LARGE)


async def test_a_wrong_key_names_the_key_that_is_missing(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"wrong-key-{uuid.uuid4()}"
    handle = await client.start_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
    other = await connect(temporal_server, Chain(Encrypt(Keyring(OTHER_KEY))))
    async with Worker(other, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        assert KEY.id.hex() in await task_failure(workflow_id, other)
    await handle.terminate()


async def test_a_result_above_the_cap_fails_the_activity_for_good(temporal_server: TemporalServer) -> None:
    chain = Chain(Zstd(), Offload(MemoryStore()), max_payload=10_000)
    client = await connect(temporal_server, chain)
    queue = workflow_id = f"too-large-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=[make_large]):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
        cause = caught.value.cause.__cause__
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.non_retryable) == ("LimitExceeded", True)
        with pytest.raises(LimitExceeded):
            await client.start_workflow(Echo.run, "x" * 20_000, id=workflow_id, task_queue=queue)


@activity.defn(name="echo")
async def make_large(data: str) -> str:
    return data * 20_000


@pytest.mark.parametrize("converter", [DataConverter.default, pydantic_data_converter])
def test_the_payload_converter_is_kept(converter: DataConverter) -> None:
    wrapped = wrap_data_converter(converter, encrypted_chain())
    assert wrapped.payload_converter_class is converter.payload_converter_class
    assert isinstance(wrapped.payload_codec, ClaimCheckCodec)
    assert issubclass(wrapped.failure_converter_class, DefaultFailureConverterWithEncodedAttributes)
    assert wrap_data_converter(converter, plain_chain()).failure_converter_class is DefaultFailureConverter


def test_wrapping_twice_with_one_chain_is_wrapping_once() -> None:
    chain = encrypted_chain()
    wrapped = wrap_data_converter(DataConverter.default, chain)
    assert wrap_data_converter(wrapped, chain) is wrapped
    with pytest.raises(ConfigError, match="already has the codec ClaimCheckCodec"):
        wrap_data_converter(wrapped, encrypted_chain())


async def test_an_existing_codec_or_storage_is_refused_loudly(temporal_server: TemporalServer) -> None:
    class Existing(PayloadCodec):
        async def encode(self, payloads: object) -> list[Payload]:
            raise NotImplementedError

        async def decode(self, payloads: object) -> list[Payload]:
            raise NotImplementedError

    class Driver(StorageDriver):
        def name(self) -> str:
            return "existing"

        async def store(self, context: object, payloads: object) -> list[StorageDriverClaim]:
            raise NotImplementedError

        async def retrieve(self, context: object, claims: object) -> list[Payload]:
            raise NotImplementedError

    with pytest.raises(ConfigError, match="already has the codec Existing"):
        await Client.connect(
            temporal_server.address,
            data_converter=dataclasses.replace(DataConverter.default, payload_codec=Existing()),
            plugins=[ClaimCheckPlugin(encrypted_chain())],
        )
    with pytest.raises(ConfigError, match="external storage"):
        wrap_data_converter(
            dataclasses.replace(DataConverter.default, external_storage=ExternalStorage(drivers=[Driver()])),
            encrypted_chain(),
        )


async def test_a_plug_in_that_replaced_the_converter_took_the_codec_away(
    temporal_server: TemporalServer,
) -> None:
    other = SimplePlugin("other", data_converter=pydantic_data_converter)
    ours = ClaimCheckPlugin(encrypted_chain())
    client = await Client.connect(temporal_server.address, plugins=[ours, other])
    assert client.data_converter.payload_codec is None
    with pytest.raises(ConfigError, match="last"):
        Worker(client, task_queue="replaced", workflows=WORKFLOWS)
    client = await Client.connect(temporal_server.address, plugins=[other, ours])
    Worker(client, task_queue="replaced", workflows=WORKFLOWS)


async def test_a_reference_takes_at_most_120_bytes_of_history_metadata_included() -> None:
    store = MemoryStore()
    codec = wrap_data_converter(DataConverter.default, encrypted_chain(store)).payload_codec
    assert codec is not None
    payload = Payload(metadata={"encoding": b"json/plain"}, data=text(1_000_000).encode())
    (encoded,) = await codec.encode([payload])
    assert encoded.metadata["encoding"] == ENCODING
    assert encoded.ByteSize() <= 120
    assert len(await keys_in(store)) == 1
    assert await codec.decode([encoded]) == [payload]


async def test_metadata_in_another_order_is_the_same_payload() -> None:
    chain = encrypted_chain()
    codec = wrap_data_converter(DataConverter.default, chain).payload_codec
    assert codec is not None
    entries = [(f"key-{n}", f"value-{n}".encode()) for n in range(20)]
    forwards = Payload(metadata=dict(entries), data=b"x" * 500)
    backwards = Payload(metadata=dict(reversed(entries)), data=b"x" * 500)
    assert await codec.encode([forwards]) == await codec.encode([backwards])


async def test_the_scope_is_the_namespace_and_the_workflow() -> None:
    base = wrap_data_converter(DataConverter.default, encrypted_chain(), namespace="ns")
    one, two = (
        base.with_context(WorkflowSerializationContext("ns", workflow_id)) for workflow_id in ("1", "2")
    )
    payloads = await one.encode(["hello"])
    assert await one.decode(payloads) == ["hello"]
    assert await base.decode(payloads) == ["hello"]
    with pytest.raises(IntegrityError, match="another run"):
        await two.decode(payloads)


async def test_what_is_marked_as_ours_and_is_not_is_an_error_not_a_pass() -> None:
    codec = wrap_data_converter(DataConverter.default, encrypted_chain()).payload_codec
    assert codec is not None
    with pytest.raises(FormatError):
        await codec.decode([Payload(metadata={"encoding": ENCODING}, data=b"anything")])
    untouched = Payload(metadata={"encoding": b"json/plain"}, data=b"1")
    assert await codec.decode([untouched]) == [untouched]


async def test_errors_reach_a_client_as_they_are(temporal_server: TemporalServer, tmp_path: Path) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"client-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await client.start_workflow(Echo.run, text(LARGE), id=workflow_id, task_queue=queue)
        await handle.result()
    bare = await connect(temporal_server, Chain(Encrypt(Keyring(Key(b"z" * 32)))))
    with pytest.raises(KeyUnavailable):
        await bare.get_workflow_handle(workflow_id).result()
    shutil.rmtree(tmp_path)
    with pytest.raises(PayloadNotFound):
        await client.get_workflow_handle(workflow_id).result()
