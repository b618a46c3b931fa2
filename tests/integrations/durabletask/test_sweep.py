"""Sweeps: what an orchestration or an entity of the hub can reach stays, what was purged goes."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from durabletask.client import OrchestrationStatus
from durabletask.entities import DurableEntity, EntityInstanceId
from durabletask.task import OrchestrationContext

from coatcheck import CoatcheckError, ConfigError, FileStore, Scope
from coatcheck.integrations.durabletask import ClaimCheckPayloadStore, DurableTaskRuns
from coatcheck.storage.prefixes import ScopePrefixes
from tests.integrations.durabletask.hub import PATIENCE, Hub, ended, output
from tests.integrations.durabletask.test_paths import LARGE, text
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import TENANT, chain_on, keys_of, sweep_of, swept_twice


class Notes(DurableEntity):
    def set(self, note: str) -> str:
        self.set_state(note)
        return note + text("kept", LARGE)


CHILD_WAITS = threading.Event()


def child(ctx: OrchestrationContext, value: str) -> Any:
    CHILD_WAITS.set()
    event = yield ctx.wait_for_external_event("told")
    return value + str(event)


def parent(ctx: OrchestrationContext, value: str) -> Any:
    kept = yield ctx.call_entity(EntityInstanceId("Notes", "1"), "set", input=value)
    yield ctx.call_sub_orchestrator(child, input=kept, instance_id="child-1")
    return "never"


def alone(_: OrchestrationContext, value: str) -> str:
    return value + text("out", LARGE)


async def keys(store: AgedStore, run: str) -> list[str]:
    prefixes = ScopePrefixes(chain_on(store).sealings)
    return await keys_of(store, await prefixes.of(Scope(TENANT, run, engine="durabletask")))


def test_a_child_keeps_what_its_purged_parent_gave_it(hub: Hub, tmp_path: Path) -> None:
    store = AgedStore(FileStore(tmp_path))
    payloads = ClaimCheckPayloadStore(chain_on(store), tenant=TENANT)
    value = text("in", LARGE)
    with hub.client(payloads) as client, hub.client() as bare:
        with hub.worker(payloads, parent, child, alone, entities=[Notes]):
            gone = client.schedule_new_orchestration(alone, input=value)
            assert output(client, gone) == value + text("out", LARGE)
            started = client.schedule_new_orchestration(parent, input=value)
            assert CHILD_WAITS.wait(PATIENCE)
            client.terminate_orchestration(started, output=None, recursive=False)
            state = client.wait_for_orchestration_completion(started)
            assert state is not None
            assert state.runtime_status is OrchestrationStatus.TERMINATED
        for instance in (gone, started):
            client.purge_orchestration(instance)
        assert asyncio.run(keys(store, gone))
        runs = DurableTaskRuns(bare, [TENANT])
        asyncio.run(swept_twice(sweep_of(store, runs), store))
        assert not asyncio.run(keys(store, gone))
        assert asyncio.run(keys(store, started)), "the child's input is in the scope of its parent"

        fresh = ClaimCheckPayloadStore(chain_on(store), tenant=TENANT)
        with hub.worker(fresh, parent, child, entities=[Notes]), hub.client(fresh) as again:
            again.raise_orchestration_event("child-1", "told", data=text("event", LARGE))
            wanted = value + text("kept", LARGE) + text("event", LARGE)
            assert ended(again, "child-1").get_output() == wanted
            entity = again.get_entity(EntityInstanceId("Notes", "1"))
            assert entity is not None
            assert entity.get_typed_state(str) == value


def test_a_client_that_would_show_payloads_is_refused(hub: Hub, tmp_path: Path) -> None:
    payloads = ClaimCheckPayloadStore(chain_on(FileStore(tmp_path)))
    with hub.client(payloads) as client, pytest.raises(ConfigError, match="payloads in place of references"):
        DurableTaskRuns(client, [TENANT])


def test_a_hub_that_does_not_answer_deletes_nothing(hub: Hub, tmp_path: Path) -> None:
    store = AgedStore(FileStore(tmp_path))
    payloads = ClaimCheckPayloadStore(chain_on(store), tenant=TENANT)
    with hub.client(payloads) as client, hub.worker(payloads, alone):
        output(client, client.schedule_new_orchestration(alone, input=text("in", LARGE)))
    with hub.client() as bare:
        hub.backend.stop()
        before = asyncio.run(keys_of(store))
        with pytest.raises(CoatcheckError, match="does not answer: UNAVAILABLE"):
            asyncio.run(swept_twice(sweep_of(store, DurableTaskRuns(bare, [TENANT])), store))
        assert asyncio.run(keys_of(store)) == before
