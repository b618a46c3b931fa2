"""An agent that carries its conversation from turn to turn: plain it stalls at gRPC's 4 MB, with coatcheck it ends."""

import json
import threading
from pathlib import Path
from typing import Any

from durabletask.client import OrchestrationStatus
from durabletask.task import ActivityContext, OrchestrationContext

from coatcheck import FileStore
from coatcheck.cli.demo.conversation import Message, conversation, turn
from tests.integrations.durabletask.hub import PATIENCE as LONG
from tests.integrations.durabletask.hub import Hub, Said, ended, output, payloads_on

TURNS = 10
"""Plain stalls in the seventh. A run of 60 turns is in `benchmarks.history --engine durabletask`."""
STEP = 8
"""Turns of the demo's conversation that one turn here adds: 83 kB."""


def agent(ctx: OrchestrationContext, turns: int) -> Any:
    """Hands the whole conversation to each turn, and gets it back."""
    so_far: list[Message] = []
    for _ in range(turns):
        so_far = yield ctx.call_activity(say, input=so_far)
    return so_far


def say(_: ActivityContext, so_far: list[Message]) -> list[Message]:
    said = len(so_far) // len(turn(0, 1))
    return [*so_far, *(message for number in range(1, STEP + 1) for message in turn(0, said + number))]


def test_an_agent_that_stalls_plain_ends_with_coatcheck(hub: Hub, tmp_path: Path) -> None:
    stalled = Said("RESOURCE_EXHAUSTED")
    with hub.client() as client, hub.worker(None, agent, activities=[say], said=stalled):
        plain = client.schedule_new_orchestration(agent, input=TURNS)
        assert stalled.heard.wait(LONG)
        state = client.get_orchestration_state(plain)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.RUNNING
    turns = sum(event.HasField("taskCompleted") for event in hub.backend._instances[plain].history)
    assert 3 < turns < TURNS

    store = payloads_on(FileStore(tmp_path))
    with hub.client(store) as client, hub.worker(store, agent, activities=[say]):
        instance = client.schedule_new_orchestration(agent, input=TURNS)
        state = ended(client, instance)
    assert state.serialized_output == json.dumps(conversation(0, TURNS * STEP))
    assert len(hub.journal(instance)) < 16_000
    stored = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert stored < 1_000_000


def test_a_worker_that_knows_nothing_goes_on_byte_for_byte(hub: Hub, tmp_path: Path) -> None:
    waiting = threading.Event()

    def waits(ctx: OrchestrationContext, turns: int) -> Any:
        so_far = yield from agent(ctx, turns)
        waiting.set()
        yield ctx.wait_for_external_event("go on")
        return so_far

    first = payloads_on(FileStore(tmp_path))
    with hub.client(first) as client, hub.worker(first, waits, activities=[say]):
        instance = client.schedule_new_orchestration(waits, input=2)
        assert waiting.wait(LONG)
    second = payloads_on(FileStore(tmp_path))
    with hub.client(second) as client, hub.worker(second, waits):
        client.raise_orchestration_event(instance, "go on", data=None)
        assert output(client, instance) == conversation(0, 2 * STEP)
