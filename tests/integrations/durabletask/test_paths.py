"""Every way of a payload: nothing of it stands in the back end, and each arrives byte for byte, in tokens of its writer."""

import asyncio
import json
import threading
from typing import Any

import pytest
from durabletask.client import AsyncTaskHubGrpcClient, OrchestrationStatus
from durabletask.entities import DurableEntity, EntityInstanceId
from durabletask.history import EventRaisedEvent
from durabletask.task import ActivityContext, OrchestrationContext, TaskFailedError

from coatcheck import MemoryStore, Scope
from coatcheck.integrations.durabletask import ClaimCheckPayloadStore
from coatcheck.storage.prefixes import ScopePrefixes
from tests.integrations.durabletask.hub import PATIENCE, Hub, chain_on, ended, output, payloads_on

SMALL, LARGE = 40, 6000
CANARY = "canary"


def text(name: str, size: int) -> str:
    """Text that compression makes nothing of, with a word that must not be seen."""
    return f"{CANARY} {name} " + "".join(chr(0x4E00 + hash((name, n)) % 20000) for n in range(size // 3))


class Notes(DurableEntity):
    """Keeps what it is told."""

    def add(self, note: str) -> int:
        notes = [*self.get_state(list, []), note]
        self.set_state(notes)
        return len(notes)

    def read(self, _: Any = None) -> list[str]:
        return list(self.get_state(list, []))


def echo(_: ActivityContext, value: str) -> str:
    return f"{value} again"


def child(ctx: OrchestrationContext, value: str) -> Any:
    echoed = yield ctx.call_activity(echo, input=value)
    return str(echoed)


def everything(ctx: OrchestrationContext, size: int) -> Any:
    notes = EntityInstanceId("Notes", ctx.instance_id)
    ctx.set_custom_status(text("status", size))
    activity = yield ctx.call_activity(echo, input=text("activity", size))
    sub = yield ctx.call_sub_orchestrator(child, input=text("sub", size))
    ctx.signal_entity(notes, "add", input=text("signal", size))
    added = yield ctx.call_entity(notes, "add", input=text("call", size))
    kept = yield ctx.call_entity(notes, "read")
    event = yield ctx.wait_for_external_event("told")
    return {"activity": activity, "sub": sub, "added": added, "kept": kept, "event": event}


def expected(size: int) -> dict[str, Any]:
    return {
        "activity": text("activity", size) + " again",
        "sub": text("sub", size) + " again",
        "added": 2,
        "kept": [text("signal", size), text("call", size)],
        "event": text("event", size),
    }


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_nothing_stands_in_the_back_end_and_everything_arrives(hub: Hub, size: int) -> None:
    store = payloads_on(MemoryStore())
    with (
        hub.client(store) as client,
        hub.worker(store, everything, child, activities=[echo], entities=[Notes]),
    ):
        instance = client.schedule_new_orchestration(everything, input=size)
        client.raise_orchestration_event(instance, "told", data=text("event", size))
        assert output(client, instance) == expected(size)
        state = client.get_orchestration_state(instance)
        assert state is not None
        assert state.get_custom_status() == text("status", size)
        history = client.get_orchestration_history(instance)
        entity = client.get_entity(EntityInstanceId("Notes", instance))
    assert state.serialized_output == json.dumps(expected(size))
    [event] = [event for event in history if isinstance(event, EventRaisedEvent)]
    assert event.input is not None
    assert json.loads(event.input) == text("event", size)
    assert entity is not None
    assert entity.get_typed_state(list) == expected(size)["kept"]
    assert CANARY.encode() not in hub.everything()


async def test_an_asynchronous_client_has_them_too(hub: Hub) -> None:
    store = payloads_on(MemoryStore())

    def waits(ctx: OrchestrationContext, value: str) -> Any:
        event = yield ctx.wait_for_external_event("told")
        return [value, event]

    with hub.worker(store, waits):
        client = AsyncTaskHubGrpcClient(
            host_address=hub.address, payload_store=store, data_converter=store.converter()
        )
        try:
            sizes = (SMALL, LARGE)
            instances = [
                await client.schedule_new_orchestration(waits, input=text("in", size)) for size in sizes
            ]
            for instance, size in zip(instances, sizes, strict=True):
                await client.raise_orchestration_event(instance, "told", data=text("event", size))
            states = await asyncio.gather(
                *(client.wait_for_orchestration_completion(one, timeout=PATIENCE) for one in instances)
            )
            outputs = [state.get_output() for state in states if state]
        finally:
            await client.close()
    assert outputs == [[text("in", size), text("event", size)] for size in sizes]
    assert CANARY.encode() not in hub.everything()


def test_generations_of_a_continued_run_share_a_scope(hub: Hub) -> None:
    memory = MemoryStore()
    store = payloads_on(memory)

    def counts(ctx: OrchestrationContext, given: list[Any]) -> Any:
        number, value = given
        if number < 3:
            ctx.continue_as_new([number + 1, value + text(str(number), LARGE)])
            return given
        return given

    with hub.client(store) as client, hub.worker(store, counts):
        instance = client.schedule_new_orchestration(counts, input=[0, ""])
        number, value = output(client, instance)
    assert (number, value) == (3, "".join(text(str(n), LARGE) for n in range(3)))
    [*prefixes] = asyncio.run(_prefixes(store, instance))
    assert all(key.startswith(tuple(prefixes)) for key in memory._objects)


def test_a_failed_run_that_is_rewound_ends_with_what_it_had(hub: Hub) -> None:
    store, calls = payloads_on(MemoryStore()), list[str]()

    def thinks(_: ActivityContext, value: str) -> str:
        calls.append("thinks")
        return value + text("thought", LARGE)

    def acts(_: ActivityContext, value: str) -> str:
        calls.append("acts")
        if calls.count("acts") == 1:
            raise ConnectionError("not there")
        return value + text("act", LARGE)

    def agent(ctx: OrchestrationContext, value: str) -> Any:
        thought = yield ctx.call_activity(thinks, input=value)
        return (yield ctx.call_activity(acts, input=thought))

    with hub.client(store) as client, hub.worker(store, agent, activities=[thinks, acts]):
        instance = client.schedule_new_orchestration(agent, input=text("in", LARGE))
        state = client.wait_for_orchestration_completion(instance, timeout=PATIENCE)
        assert state is not None
        assert state.runtime_status is OrchestrationStatus.FAILED
        client.rewind_orchestration(instance, reason="it is there again")
        assert output(client, instance) == "".join(text(name, LARGE) for name in ("in", "thought", "act"))
    assert calls == ["thinks", "acts", "acts"]


def test_a_result_above_the_limit_fails_its_activity_and_is_not_run_again(hub: Hub) -> None:
    chain, calls = chain_on(MemoryStore()), list[str]()
    chain.max_payload = 100_000
    store = ClaimCheckPayloadStore(chain)

    def writes(_: ActivityContext, size: int) -> str:
        calls.append("writes")
        return "x" * size

    def agent(ctx: OrchestrationContext, size: int) -> Any:
        try:
            return (yield ctx.call_activity(writes, input=size))
        except TaskFailedError as error:
            return str(error.details.message)

    with hub.client(store) as client, hub.worker(store, agent, activities=[writes]):
        instance = client.schedule_new_orchestration(agent, input=200_000)
        assert "more than the chain's 100,000" in output(client, instance)
    assert calls == ["writes"]


def test_what_was_written_plain_is_read_while_a_fleet_moves(hub: Hub) -> None:
    waiting = threading.Event()

    def waits(ctx: OrchestrationContext, value: str) -> Any:
        before = yield ctx.call_activity(echo, input=value)
        waiting.set()
        event = yield ctx.wait_for_external_event("told")
        return [before, event]

    with hub.client() as client, hub.worker(None, waits, activities=[echo]):
        instance = client.schedule_new_orchestration(waits, input=text("in", LARGE))
        assert waiting.wait(PATIENCE)
    store = payloads_on(MemoryStore())
    with hub.client(store) as client, hub.worker(store, waits):
        client.raise_orchestration_event(instance, "told", data=text("event", LARGE))
        assert json.loads(ended(client, instance).serialized_output or "") == [
            text("in", LARGE) + " again",
            text("event", LARGE),
        ]


async def _prefixes(store: ClaimCheckPayloadStore, instance: str) -> list[str]:
    return await ScopePrefixes(store.chain.sealings).of(Scope("default", instance, engine="durabletask"))
