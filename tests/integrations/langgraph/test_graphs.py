"""Whole graphs: what they read and return is the same with a chain and without."""

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from coatcheck import MemoryStore
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.engines.postgres import PostgresServer
from tests.integrations.langgraph.graphs import agent, loop, said, with_deltas
from tests.integrations.langgraph.savers import asynchronous, chain_on, keys_in, synchronous

KINDS = ["memory", "sqlite", "postgres"]
MODES: Any = ["sync", "async", "exit"]


def config(thread: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": thread, **more}}


def shown(state: Any) -> tuple[Any, ...]:
    """All of a state that is the same in two runs: no ids and times."""
    metadata = {key: value for key, value in (state.metadata or {}).items() if key != "parents"}
    tasks = [
        (task.name, task.error, [one.value for one in task.interrupts], task.result) for task in state.tasks
    ]
    return state.values, state.next, metadata, tasks


def talk(app: Any, mode: Any) -> list[Any]:
    """Interrupt, approve, begin again, go back in time, fork, and update."""
    seen: list[Any] = []
    run = config("t", user="secret")
    for turn in range(2):
        seen.append(app.invoke({"messages": [said(("in", turn))]}, run, durability=mode)["messages"])
        state = app.get_state(run, subgraphs=True)
        seen.append(shown(state))
        seen.append(app.invoke(Command(resume="yes" * 3000), run, durability=mode))
    history = list(app.get_state_history(run))
    seen += [shown(state) for state in history]
    if mode != "exit":
        early = next(state for state in history if state.next == ("ask",) and state.values["turn"] == 1)
        seen.append(app.invoke(None, early.config, durability=mode)["messages"])
        forked = app.update_state(early.config, {"messages": [said("edited")]}, as_node="think")
        seen.append(shown(app.get_state(forked)))
    seen += [shown(state) for state in app.get_state_history(run, filter={"source": "loop"}, limit=3)]
    seen += [shown(state) for state in app.get_state_history(run, filter={"user": "secret"}, limit=2)]
    return seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_sees_the_same_with_a_chain(kind: str, mode: Any, postgres_server: PostgresServer) -> None:
    expected = talk(agent().compile(checkpointer=InMemorySaver()), mode)
    store = MemoryStore()
    with synchronous(kind, postgres_server) as saver:
        found = talk(agent().compile(checkpointer=ClaimCheckSaver(saver, chain_on(store))), mode)
    assert found == expected
    assert asyncio.run(keys_in(store))


@pytest.mark.parametrize("kind", KINDS)
def test_a_delta_channel_is_rebuilt_from_sealed_writes_and_snapshots(
    kind: str, postgres_server: PostgresServer
) -> None:
    def turns(app: Any) -> list[Any]:
        run = config("t")
        return [app.invoke({"messages": [said(("in", n))]}, run) for n in range(5)] + [
            shown(state)[:2] for state in app.get_state_history(run)
        ]

    expected = turns(with_deltas().compile(checkpointer=InMemorySaver()))
    with synchronous(kind, postgres_server) as saver:
        app = with_deltas().compile(checkpointer=ClaimCheckSaver(saver, chain_on(over=0)))
        assert turns(app) == expected


@pytest.mark.parametrize("kind", [*KINDS, "whole"])
async def test_an_asynchronous_graph_sees_the_same(kind: str, postgres_server: PostgresServer) -> None:
    async def turns(app: Any) -> list[Any]:
        run = config("t")
        seen: list[Any] = [await app.ainvoke({"messages": [said(("in", n))]}, run) for n in range(3)]
        return seen + [shown(state) async for state in app.aget_state_history(run)]

    expected = await turns(loop().compile(checkpointer=InMemorySaver()))
    expected_deltas = await turns(with_deltas().compile(checkpointer=InMemorySaver()))
    async with asynchronous(kind, postgres_server) as saver:
        ours = ClaimCheckSaver(saver, chain_on())
        assert await turns(loop().compile(checkpointer=ours)) == expected
        await ours.adelete_thread("t")
        assert await turns(with_deltas().compile(checkpointer=ours)) == expected_deltas


def test_a_growing_state_is_stored_as_deltas() -> None:
    plain, ours, store = InMemorySaver(), InMemorySaver(), MemoryStore()
    for saver in (plain, ClaimCheckSaver(ours, chain_on(store))):
        app = loop().compile(checkpointer=saver)
        for n in range(20):
            app.invoke({"messages": [said(("in", n))]}, config("t"))

    async def stored() -> int:
        return sum([found.size async for found in store.list_objects("")])

    def kept(saver: InMemorySaver) -> int:
        return sum(len(data) for _, data in saver.blobs.values()) + sum(
            len(row[2][1]) for rows in saver.writes.values() for row in rows.values()
        )

    assert kept(plain) > 5_000_000
    assert kept(ours) + asyncio.run(stored()) < kept(plain) / 8
