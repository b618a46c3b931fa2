"""A store that fails at any write, or for good: nothing is done twice for it, nothing dangles, and nothing is retried for ever."""

import random
import re
import threading
from collections.abc import Callable
from functools import partial
from operator import eq
from typing import Any

from durabletask.client import OrchestrationStatus
from durabletask.task import ActivityContext, OrchestrationContext

from coatcheck import MemoryStore, StoreDenied, StoreUnavailable
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.integrations.durabletask import ClaimCheckPayloadStore
from coatcheck.integrations.durabletask.tokens import from_token
from coatcheck.retention.live import run_tags_in
from tests.integrations.durabletask.hub import PATIENCE, Hub, Said, chain_on, output, payloads_on

FITS, TOO_LARGE = 20_000, 700_000
"""Bytes that a history takes if the store does not, and bytes that it does not."""
WRITES = 3
"""Objects of the run below: its input and the results of two activities; its output is the last of them."""


class Faulty(MemoryStore):
    """Refuses writes, or reads, as long as it is told to."""

    def __init__(self, refuses: Callable[[int], bool] = lambda number: False) -> None:
        super().__init__()
        self.refuses = refuses
        self.writes = self.reads = 0
        self.is_down = False
        self._lock = threading.Lock()

    async def create(self, key: str, data: bytes) -> bool:
        with self._lock:
            self.writes += 1
            number = self.writes
        if self.refuses(number):
            raise StoreDenied("this write is refused", "Wait.", key)
        return await super().create(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.reads += 1
        if self.is_down:
            raise StoreUnavailable("the store is down", "Wait.", key)
        return await super().get(key, limit)


def text(seed: str, size: int) -> str:
    return random.Random(seed).randbytes(size // 2).hex()


class Agent:
    """Two activities that count how often they ran."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls: list[str] = []

    def think(self, _: ActivityContext, value: str) -> str:
        self.calls.append("think")
        return text(value, self.size)

    def act(self, _: ActivityContext, value: str) -> str:
        self.calls.append("act")
        return text(value, self.size)

    def run(self, ctx: OrchestrationContext, value: str) -> Any:
        thought = yield ctx.call_activity(self.think, input=value)
        acted = yield ctx.call_activity(self.act, input=thought)
        return str(acted)

    @property
    def result(self) -> str:
        return text(text(text("in", self.size), self.size), self.size)


def nothing_dangles(hub: Hub, memory: MemoryStore) -> None:
    """Whatever the back end refers to is there."""
    fresh = payloads_on(memory)
    for token in set(re.findall(rb"coatcheck:[A-Za-z0-9_-]+", hub.everything())):
        assert from_token(token.decode())
        assert fresh.download(token.decode())


def test_a_write_that_fails_repeats_no_activity(hub: Hub) -> None:
    """Each write of the run in turn, of payloads that fit into the history and of payloads that do not."""
    store = Faulty()
    payloads = payloads_on(store)
    agents = {size: Agent(size) for size in (FITS, TOO_LARGE)}
    with hub.client(payloads) as client:
        for agent in agents.values():
            with hub.worker(payloads, agent.run, activities=[agent.think, agent.act]):
                # A client that cannot hand in so much is told at once.
                for failing in range(1 if agent.size == FITS else 2, WRITES + 1):
                    agent.calls.clear()
                    store.writes = 0
                    store.refuses = partial(eq, failing)
                    instance = client.schedule_new_orchestration(agent.run, input=text("in", agent.size))
                    assert output(client, instance) == agent.result
                    assert agent.calls == ["think", "act"]
                    assert failing <= store.writes <= WRITES + 1, "what failed is written once more at most"
    nothing_dangles(hub, store)


def test_a_store_that_is_dead_leaves_a_small_run_in_the_history(hub: Hub) -> None:
    store, agent = Faulty(lambda number: True), Agent(FITS)
    payloads = payloads_on(store)
    with (
        hub.client(payloads) as client,
        hub.worker(payloads, agent.run, activities=[agent.think, agent.act]),
    ):
        instance = client.schedule_new_orchestration(agent.run, input=text("in", FITS))
        assert output(client, instance) == agent.result
    assert agent.calls == ["think", "act"]
    assert not list(run_tags_in(hub.journal(instance))), "no reference to what is not there"
    assert text("in", FITS).encode() not in hub.everything()


def test_a_store_that_stays_dead_ends_the_wait_and_repeats_nothing(hub: Hub) -> None:
    store, agent = Faulty(lambda number: number > 1), Agent(TOO_LARGE)
    given_up = Said("Failed to deliver activity response")
    payloads = payloads_on(store, patience=0.5)
    with (
        hub.client(payloads) as client,
        hub.worker(payloads, agent.run, activities=[agent.think, agent.act], said=given_up),
    ):
        instance = client.schedule_new_orchestration(agent.run, input=text("in", TOO_LARGE))
        assert given_up.heard.wait(PATIENCE)
        state = client.get_orchestration_state(instance, fetch_payloads=False)
    assert state is not None
    assert state.runtime_status is OrchestrationStatus.RUNNING
    assert (agent.calls, given_up.times) == (["think"], 1)
    assert store.writes <= 6
    nothing_dangles(hub, store)


def test_an_activity_waits_for_a_store_that_is_down_and_runs_once(hub: Hub) -> None:
    store, agent = Faulty(), Agent(TOO_LARGE)
    chain = chain_on(store, deadline=0.2)
    payloads = ClaimCheckPayloadStore(chain)
    with hub.client(payloads) as client:
        instance = client.schedule_new_orchestration(agent.run, input=text("in", TOO_LARGE))
        chain.cache.clear()
        store.is_down = True
        threading.Timer(1.0, lambda: setattr(store, "is_down", False)).start()
        with hub.worker(payloads, agent.run, activities=[agent.think, agent.act]):
            assert output(client, instance) == agent.result
    assert agent.calls == ["think", "act"]


def test_what_is_gone_is_not_asked_for_in_a_tight_loop_and_goes_on_once_it_is_back(hub: Hub) -> None:
    store, agent = Faulty(), Agent(TOO_LARGE)
    payloads = payloads_on(store)
    abandoned = Said("item will be abandoned")
    with hub.client(payloads) as client:
        instance = client.schedule_new_orchestration(agent.run, input=text("in", TOO_LARGE))
        payloads.chain.cache.clear()
        gone, store._objects = store._objects, {}
        with hub.worker(payloads, agent.run, activities=[agent.think, agent.act], said=abandoned):
            assert abandoned.heard.wait(PATIENCE)
            abandoned.heard.clear()
            assert abandoned.heard.wait(PATIENCE)  # the second attempt, a second later
            assert abandoned.times == 2
            store._objects |= gone
            assert output(client, instance) == agent.result
    assert agent.calls == ["think", "act"]
