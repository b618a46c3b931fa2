"""A converter, a client and a replayer that are taken to another namespace go by that one."""

import dataclasses
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.converter import DataConverter, ExternalStorage
from temporalio.worker import Replayer, Worker

from coatcheck import Chain, ConfigError, IntegrityError, Scope
from coatcheck.integrations.temporal import (
    ClaimCheckCodec,
    ClaimCheckPlugin,
    DataDogReader,
    Mode,
    wrap_data_converter,
)
from tests.chains import encrypted_chain
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.everything import chain_in
from tests.integrations.temporal.paths.nexus import new_namespace
from tests.integrations.temporal.waiting import Waiting, double
from tests.integrations.temporal.workflows import text

LARGE = 6_000
DATADOG = DataDogReader("http://127.0.0.1:1")


@pytest.fixture
async def production(temporal_server: TemporalServer) -> TemporalServer:
    return await new_namespace(temporal_server)


async def seals_for(converter: DataConverter, namespace: str, chain: Chain) -> bool:
    """Whether what comes without a context is sealed for this tenant."""
    (sealed,) = await converter.encode(["hello"])
    try:
        await chain.open(sealed.data, Scope(namespace))
    except IntegrityError:
        return False
    return True


async def test_a_converter_that_was_wrapped_for_one_namespace_sealed_for_it_in_another() -> None:
    chain = encrypted_chain()
    first = wrap_data_converter(DataConverter.default, chain, namespace="first")
    second = wrap_data_converter(first, chain, namespace="second")
    assert await seals_for(first, "first", chain)
    assert await seals_for(second, "second", chain)
    assert wrap_data_converter(second, chain, namespace="second") is second
    # From one to the other and back is where it began.
    assert await seals_for(wrap_data_converter(second, chain, namespace="first"), "first", chain)


def test_what_differs_in_more_than_the_namespace_is_refused() -> None:
    chain = encrypted_chain()
    wrapped = wrap_data_converter(DataConverter.default, chain, namespace="first")
    refused = pytest.raises(ConfigError, match="already has the codec ClaimCheckCodec")
    with refused:
        wrap_data_converter(wrapped, encrypted_chain(), namespace="second")
    with refused:
        wrap_data_converter(wrapped, chain, namespace="second", mode="native")
    with refused:
        wrap_data_converter(wrapped, chain, namespace="second", nexus_namespaces=["third"])
    with refused:
        wrap_data_converter(wrapped, chain, namespace="second", read_also=[DATADOG])
    assert isinstance(wrapped.external_storage, ExternalStorage)
    other_size = dataclasses.replace(wrapped.external_storage, payload_size_threshold=1)
    with refused:
        wrap_data_converter(
            dataclasses.replace(wrapped, external_storage=other_size), chain, namespace="second"
        )


def test_readers_go_along_to_another_namespace() -> None:
    chain = encrypted_chain()
    first = wrap_data_converter(DataConverter.default, chain, namespace="first", read_also=[DATADOG])
    second = wrap_data_converter(first, chain, namespace="second", read_also=[DATADOG])
    assert second == wrap_data_converter(second, chain, namespace="second", read_also=[DATADOG])
    codec = second.payload_codec
    assert isinstance(codec, ClaimCheckCodec)
    assert codec.read_also == (DATADOG.within("second"),)


async def test_a_client_of_another_ones_configuration_could_not_read_its_namespace(
    temporal_server: TemporalServer, production: TemporalServer, tmp_path: Path
) -> None:
    chain = chain_in(tmp_path)
    first = await Client.connect(temporal_server.address, plugins=[ClaimCheckPlugin(chain)])
    configurations = (first.config(), first.config(active_config=True))
    for config in configurations:
        config["namespace"] = production.namespace
        client = Client(**config)
        codec = client.data_converter.payload_codec
        assert isinstance(codec, ClaimCheckCodec)
        assert codec.namespace == production.namespace
        kinds = [type(one) for one in client.config(active_config=True)["interceptors"]]
        assert len(kinds) == len(set(kinds))
        queue = workflow_id = f"moved-{uuid4()}"
        async with Worker(client, task_queue=queue, workflows=[Waiting], activities=[double]):
            handle = await client.start_workflow(
                Waiting.run, text(LARGE), id=workflow_id, task_queue=queue, memo={"note": text(LARGE, "memo")}
            )
            await handle.signal(Waiting.give, "x")
            assert await handle.result() == [text(LARGE) * 2, "xx"]
        assert await seals_for(client.data_converter, production.namespace, chain)
    assert await seals_for(first.data_converter, "default", chain)


@pytest.mark.parametrize("mode", ["codec", "native"])
async def test_a_replayer_opened_what_has_no_context_for_the_default_namespace(
    production: TemporalServer, tmp_path: Path, mode: Mode
) -> None:
    plugin = ClaimCheckPlugin(chain_in(tmp_path), mode=mode)
    client = await Client.connect(production.address, namespace=production.namespace, plugins=[plugin])
    queue = workflow_id = f"replayed-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Waiting], activities=[double]):
        handle = await client.start_workflow(Waiting.run, text(LARGE), id=workflow_id, task_queue=queue)
        # What comes without a context is the tenant's.
        bare = await client.data_converter.encode([text(LARGE, "bare")])
        await handle.signal(Waiting.give, "x")
        await handle.result()
    fresh = ClaimCheckPlugin(chain_in(tmp_path), mode=mode)
    replayer = Replayer(workflows=[Waiting], namespace=production.namespace, plugins=[fresh])
    converter = replayer.config(active_config=True).get("data_converter")
    assert converter is not None
    assert isinstance(converter.payload_codec, ClaimCheckCodec)
    assert converter.payload_codec.namespace == production.namespace
    assert await converter.decode(bare) == [text(LARGE, "bare")]
    await replayer.replay_workflow(await handle.fetch_history())


async def test_a_plug_in_for_a_worker_alone_was_said_to_have_been_replaced(
    temporal_server: TemporalServer,
) -> None:
    client = await Client.connect(temporal_server.address)
    with pytest.raises(ConfigError, match=r"was given to a worker.*Client.connect"):
        Worker(client, task_queue="alone", workflows=[Waiting], plugins=[ClaimCheckPlugin(encrypted_chain())])
