"""Deletion reaches the store, and leaves what others refer to."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from coatcheck import FileStore, MemoryStore, RunTag, Scope
from coatcheck.integrations.langgraph import ClaimCheckSaver, LangGraphThreads
from tests.integrations.langgraph.graphs import loop, said
from tests.integrations.langgraph.savers import chain_on, keys_in, whole_sqlite
from tests.integrations.langgraph.test_graphs import config


def turn(saver: Any, n: int, thread: str = "t") -> Any:
    return loop().compile(checkpointer=saver).invoke({"messages": [said(("in", n))]}, config(thread))


def of(saver: Any, thread: str = "t") -> Any:
    return [found.checkpoint["channel_values"] for found in saver.list(config(thread))]


def test_a_deleted_thread_leaves_nothing_in_the_store_and_others_stay() -> None:
    store = MemoryStore()
    saver = ClaimCheckSaver(whole_sqlite(), chain_on(store))
    turn(saver, 0, "t")
    other = turn(saver, 1, "u")
    before = asyncio.run(keys_in(store))
    saver.delete_thread("t")
    assert 0 < len(asyncio.run(keys_in(store))) < len(before)
    assert of(saver, "u")[0]["messages"] == other["messages"]
    saver.prune(["u"], strategy="delete")
    assert asyncio.run(keys_in(store)) == []


async def test_a_thread_that_begins_anew_relies_on_nothing_that_another_process_deleted() -> None:
    store, below = MemoryStore(), whole_sqlite()
    one, two = (ClaimCheckSaver(below, chain_on(store)) for _ in range(2))
    app = loop().compile(checkpointer=one)
    first = await app.ainvoke({"messages": [said("in")]}, config("t"))
    await two.adelete_thread("t")
    assert await keys_in(store) == []
    assert await app.ainvoke({"messages": [said("in")]}, config("t")) == first
    fresh = ClaimCheckSaver(below, chain_on(store))
    assert [found async for found in fresh.alist(config("t"))]


def test_a_copy_outlives_its_source_and_goes_on() -> None:
    store, below = MemoryStore(), whole_sqlite()
    saver = ClaimCheckSaver(below, chain_on(store))
    turn(saver, 0)
    saver.copy_thread("t", "copy")
    expected = of(saver)
    saver.delete_thread("t")
    saver.prune(["t"], strategy="delete")
    fresh = ClaimCheckSaver(below, chain_on(store))
    assert of(fresh, "copy") == expected
    assert of(fresh, "t") == []
    assert turn(fresh, 1, "copy")["turn"] == 2


def test_a_prune_frees_what_an_idle_thread_does_not_need(tmp_path: Path) -> None:
    store, below = FileStore(tmp_path), whole_sqlite()
    saver = ClaimCheckSaver(below, chain_on(store))
    for n in range(5):
        turn(saver, n)
    expected = of(saver)[:1]
    before = asyncio.run(keys_in(store))
    saver.prune(["t"])
    assert asyncio.run(keys_in(store)) == before, "another process may rely on what was just written"
    past = time.time() - 3 * 3600
    for path in tmp_path.rglob("*"):
        os.utime(path, (past, past))
    saver.prune(["t"])
    assert 0 < len(asyncio.run(keys_in(store))) < len(before)
    fresh = ClaimCheckSaver(below, chain_on(store))
    assert of(fresh) == expected
    assert turn(fresh, 5)["turn"] == 6
    assert of(ClaimCheckSaver(below, chain_on(store)))[0]["turn"] == 6


async def test_the_threads_of_a_database_and_what_they_refer_to() -> None:
    store, below = MemoryStore(), whole_sqlite()
    saver = ClaimCheckSaver(below, chain_on(store), tenant="acme")
    app = loop().compile(checkpointer=saver)
    await app.ainvoke({"messages": [said("in")]}, config("t"))
    await saver.acopy_thread("t", "copy")
    below.delete_thread("t")
    live = [found async for found in LangGraphThreads(below, ["acme"]).scopes()]
    assert [found for found in live if isinstance(found, Scope)] == [
        Scope("acme", "copy", engine="langgraph")
    ]
    tags = {key.split("/")[1] for key in await keys_in(store)}
    assert {RunTag(found).hex() for found in live if isinstance(found, bytes)} == tags
