"""Keys are rotated while workflows run: they complete, and replay."""

import os
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Replayer, Worker

from coatcheck import (
    Chain,
    Encrypt,
    Keyring,
    KeySource,
    MemoryStore,
    Offload,
    PayloadCache,
    TenantKeys,
    Zstd,
)
from coatcheck.integrations.temporal import ENCODING, ClaimCheckPlugin
from tests.chains import KEY, OTHER_KEY
from tests.engines.openbao import OpenBao
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.waiting import Waiting, double
from tests.integrations.temporal.workflows import text

LARGE = 60_000


class Processes:
    """Chains of processes that know nothing of each other, and what the operator does between them."""

    def __init__(self, before: Callable[[], KeySource], after: Callable[[], KeySource]) -> None:
        self._store = MemoryStore()
        self._before, self._after = before, after

    def _chain(self, keys: KeySource) -> Chain:
        return Chain(Zstd(), Encrypt(keys), Offload(self._store, over=1024), cache=PayloadCache(0))

    def before(self) -> Chain:
        return self._chain(self._before())

    def after(self) -> Chain:
        return self._chain(self._after())

    async def rotate(self) -> None:
        """What has to be done besides giving other keys to the processes."""


class TenantProcesses(Processes):
    """Tenants' keys wrapped by Vault, where the operator makes a new key, and a new version of that, and destroys the rest."""

    def __init__(self, vault: OpenBao) -> None:
        self._vault = vault
        self._wrapped = MemoryStore()
        self._old, self._new = vault.new_key(), vault.new_key()
        super().__init__(lambda: self._keys(self._old), lambda: self._keys(self._new))

    def _keys(self, *names: str) -> TenantKeys:
        return TenantKeys(self._wrapped, *map(self._vault.service, names), label="test")

    async def rotate(self) -> None:
        for _ in range(2):
            keys = self._keys(self._new, self._old)
            await keys.rotate("default")
            await keys.rekey()
            await keys.close()
            self._vault.change(self._new, "rotate")
        keys = self._keys(self._new, self._old)
        await keys.rekey()
        await keys.close()
        self._vault.change(self._new, "config", min_decryption_version=3, min_encryption_version=3)
        self._vault.change(self._new, "trim", min_available_version=3)
        self._vault.destroy(self._old)


@pytest.fixture(params=["keyring", "tenant-keys"])
def processes(request: pytest.FixtureRequest) -> Processes:
    if request.param == "keyring":
        return Processes(lambda: Keyring(KEY), lambda: Keyring(OTHER_KEY, KEY))
    return TenantProcesses(request.getfixturevalue("openbao"))


async def key_ids(client: Client, workflow_id: str) -> list[bytes]:
    """Of the payloads of a history, each once, in order."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    found = [
        payload.data[7:11]
        for event in history.events
        for field in (
            event.workflow_execution_started_event_attributes.input,
            event.activity_task_completed_event_attributes.result,
            event.workflow_execution_signaled_event_attributes.input,
            event.workflow_execution_completed_event_attributes.result,
        )
        for payload in field.payloads
        if payload.metadata["encoding"] == ENCODING
    ]
    return list(dict.fromkeys(found))


async def test_keys_are_rotated_while_a_workflow_runs(
    temporal_server: TemporalServer, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_in_workflows: list[int] = []
    urandom = os.urandom

    def watched(size: int) -> bytes:
        if workflow.in_workflow():
            drawn_in_workflows.append(size)
        return urandom(size)

    monkeypatch.setattr(os, "urandom", watched)
    queue = workflow_id = f"rotation-{uuid.uuid4()}"
    first, second = text(LARGE, "first"), text(LARGE, "second")
    async with AsyncExitStack() as stack:

        async def connect(chain: Chain) -> Client:
            await stack.enter_async_context(chain)
            return await Client.connect(temporal_server.address, plugins=[ClaimCheckPlugin(chain)])

        async def replay(chain: Chain) -> None:
            await stack.enter_async_context(chain)
            history = await client.get_workflow_handle(workflow_id).fetch_history()
            await Replayer(workflows=[Waiting], plugins=[ClaimCheckPlugin(chain)]).replay_workflow(history)

        client = await connect(processes.before())
        handle = await client.start_workflow(Waiting.run, first, id=workflow_id, task_queue=queue)
        async with Worker(client, task_queue=queue, workflows=[Waiting], activities=[double]):
            await handle.execute_update(Waiting.until_it_waits)
        await processes.rotate()
        client = await connect(processes.after())
        async with Worker(client, task_queue=queue, workflows=[Waiting], activities=[double]):
            handle = client.get_workflow_handle_for(Waiting.run, workflow_id)
            await handle.signal(Waiting.give, second)
            assert await handle.result() == [first * 2, second * 2]
        # Each key sealed a part of the history.
        old, new = await key_ids(client, workflow_id)
        assert old != new
        await replay(processes.after())
        if not isinstance(processes, TenantProcesses):
            assert (old, new) == (KEY.id, OTHER_KEY.id)
            # The old key alone is not enough any more, and says so.
            with pytest.raises(RuntimeError, match="KeyUnavailable"):
                await replay(processes.before())
    assert drawn_in_workflows == []
