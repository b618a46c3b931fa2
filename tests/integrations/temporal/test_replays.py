"""Replays on the real server: what they ask of the store."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, Worker

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, StoredObject, Zstd
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.chains import KEY
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.growing import STEPS, Growing, answer


class Asked(MemoryStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()

    async def create(self, key: str, data: bytes) -> bool:
        self.requests["create"] += 1
        return await super().create(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.requests["get"] += 1
        return await super().get(key, limit)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        self.requests["list"] += 1
        async for entry in super().list_objects(prefix):
            yield entry


def chain_on(store: Asked) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), cache=PayloadCache(2**26))


async def run(server: TemporalServer, chain: Chain, mode: Mode) -> WorkflowHistory:
    client = await Client.connect(server.address, plugins=[ClaimCheckPlugin(chain, mode=mode)])
    queue = workflow_id = f"growing-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Growing], activities=[answer]):
        await client.execute_workflow(Growing.run, id=workflow_id, task_queue=queue)
    return await client.get_workflow_handle(workflow_id).fetch_history()


async def replay(chain: Chain, history: WorkflowHistory, mode: Mode) -> None:
    await Replayer(workflows=[Growing], plugins=[ClaimCheckPlugin(chain, mode=mode)]).replay_workflow(history)


@pytest.mark.parametrize("mode", ["codec", "native"])
async def test_a_cold_replay_offered_the_store_the_first_payload_that_it_wrote(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    store = Asked()
    history = await run(temporal_server, chain_on(store), mode)
    objects = store.requests["create"]
    assert objects >= STEPS - 1
    store.requests.clear()
    await replay(chain_on(store), history, mode)
    assert store.requests["create"] == 0
    assert store.requests["list"] == 1
    assert store.requests["get"] <= objects


@pytest.mark.parametrize("mode", ["codec", "native"])
async def test_a_warm_replay_asks_for_nothing(temporal_server: TemporalServer, mode: Mode) -> None:
    store = Asked()
    chain = chain_on(store)
    history = await run(temporal_server, chain, mode)
    store.requests.clear()
    await replay(chain, history, mode)
    assert not store.requests
