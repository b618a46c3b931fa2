"""A store that is slow, fails, loses answers or is dead at each write: no step is done twice, and every reference leads somewhere."""

import asyncio
import threading
from typing import get_args

import pytest
from dbos import DBOSClient, SetWorkflowID, WorkflowHandle

from coatcheck import DEFAULT_LIMIT, MemoryStore, Scope, StoreUnavailable
from coatcheck.format.shown import MESSAGE, sealed_of
from tests.integrations.dbos.agents import (
    PATIENCE,
    QUEUE,
    TENANT,
    Database,
    agent,
    chain_on,
    done,
    launched,
    parent,
    serializer_on,
    text,
)
from tests.integrations.dbos.moody import Mood, MoodyStore

TURNS = 3
WRITES = TURNS + 2
"""Of an agent: the input, a result for each turn, the output."""


def check_references(database: Database, store: MemoryStore) -> int:
    """Open all that is in the database, by a chain that has nothing in memory; return how many are references."""
    chain, count = chain_on(store), 0
    for texts in database.texts().values():
        for text_ in texts:
            sealed = sealed_of(text_.removeprefix(MESSAGE))
            if sealed is not None:
                chain.sync.open(sealed, Scope(TENANT))
                count += len(text_) < 1000
    return count


@pytest.mark.parametrize("mood", get_args(Mood))
def test_no_step_is_done_twice_and_nothing_dangles(sqlite: str, mood: Mood) -> None:
    store = MoodyStore()
    with launched(sqlite, serializer_on(store)) as database:
        for number in range(WRITES):
            store.writes = 0

            def mood_of(n: int, number: int = number) -> Mood:
                return mood if n == number else "well"

            store.mood = mood_of
            with SetWorkflowID(f"w{number}"):
                told = agent(text(f"asked {number}"), TURNS)
            assert told == [
                text(f"asked {number}"),
                *(text(f"{text(f'asked {number}')[:10]}/{n}") for n in range(TURNS)),
            ]
            assert len(done) == TURNS * (number + 1), (mood, number)
        assert len(set(done)) == len(done)
        references = check_references(database, store)
    assert references == WRITES * (TURNS + 2) - (WRITES if mood == "dead" else 0)


def test_a_store_that_stays_dead_ends_no_workflow(sqlite: str) -> None:
    store = MoodyStore(lambda _: "dead")
    with launched(sqlite, serializer_on(store)) as database:
        assert len(agent(text("asked"), TURNS)) == TURNS + 1
        assert asyncio.run(_ask()) == text(f"{text('asked')[:10]}/child") + text("asked")
        assert check_references(database, store) == 0
    assert done == [*(f"{text('asked')[:10]}/{n}" for n in range(TURNS)), f"{text('asked')[:10]}/child"]


async def _ask() -> str:
    return await parent(text("asked"))


def test_a_workflow_that_was_dequeued_while_the_store_was_away_ended_in_error(sqlite: str) -> None:
    class Away(MemoryStore):
        refused = threading.Event()
        is_back = False

        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            if not Away.is_back:
                Away.refused.set()
                raise StoreUnavailable("the store is away", "Wait.")
            return await super().get(key, limit)

    store = Away()
    with launched(sqlite, serializer_on(store, deadline=0.1)):
        client = DBOSClient(system_database_url=sqlite, serializer=serializer_on(store))
        asked: WorkflowHandle[list[str]] = client.enqueue(
            {"workflow_name": agent.__qualname__, "queue_name": QUEUE}, text("asked"), 1
        )
        assert Away.refused.wait(PATIENCE)
        Away.is_back = True
        assert asked.get_result(polling_interval_sec=0.05)[0] == text("asked")
        client.destroy()
    assert len(done) == 1


def test_patience_ends_once_for_all(caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryStore):
        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            raise StoreUnavailable("the store is away", "Wait.")

    store = Away()
    written = serializer_on(store).serialize(text("a"))
    reader = serializer_on(store, patience=0.2, deadline=0.01)
    with pytest.raises(StoreUnavailable):
        reader.deserialize(written)
    assert "waits for a value" in caplog.text
    caplog.clear()
    # What the console lists must not wait for each of a thousand rows.
    with pytest.raises(StoreUnavailable):
        reader.deserialize(written)
    assert "waits for a value" not in caplog.text
