"""Random lives of threads: a saver with a chain and a plain one agree after every step."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.types import Command

from coatcheck import MemoryStore
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.integrations.langgraph.graphs import agent, loop, said, with_deltas
from tests.integrations.langgraph.savers import chain_on, keys_in, whole_sqlite
from tests.integrations.langgraph.test_graphs import config, shown

THREADS = st.sampled_from(["a", "b"])
SIZES = st.sampled_from([0, 10, 700, 5000, 70_000])
OPERATIONS = st.one_of(
    st.tuples(st.just("say"), THREADS, SIZES),
    st.tuples(st.just("resume"), THREADS, SIZES),
    st.tuples(st.just("update"), THREADS, SIZES),
    st.tuples(st.just("back"), THREADS, st.integers(0, 12)),
    st.tuples(st.just("copy"), THREADS, st.just(0)),
    st.tuples(st.just("prune"), THREADS, st.just(0)),
    st.tuples(st.just("delete"), THREADS, st.just(0)),
    st.tuples(st.just("restart"), THREADS, st.just(0)),
)
BUILDERS = {"agent": agent, "loop": loop, "deltas": with_deltas}
FORGETTING = {"prune"}
"""What loses the writes from which a ``DeltaChannel`` is rebuilt, with a plain saver as well."""


class World:
    """One database with a graph: a new process has a saver and a chain of its own."""

    def __init__(self, builder: str, store: MemoryStore | None, over: int) -> None:
        self.below = whole_sqlite()
        self.builder, self.store, self.over = builder, store, over
        self.restart()

    def restart(self, *_: Any) -> None:
        self.saver: Any = self.below
        if self.store is not None:
            self.saver = ClaimCheckSaver(self.below, chain_on(self.store, self.over))
        self.app = BUILDERS[self.builder]().compile(checkpointer=self.saver)

    def do(self, name: str, thread: str, number: int) -> Any:
        """Do it, and return what there is to see of it: no IDs, which are random."""
        done = getattr(self, name)(thread, number)
        if isinstance(done, dict) and "__interrupt__" in done:
            done["__interrupt__"] = [one.value for one in done["__interrupt__"]]
        return done

    def say(self, thread: str, size: int) -> Any:
        return self.app.invoke({"messages": [said(size, size)]}, config(thread))

    def resume(self, thread: str, size: int) -> Any:
        if not self.app.get_state(config(thread)).interrupts:
            return None
        return self.app.invoke(Command(resume=said("resume", size)), config(thread))

    def update(self, thread: str, size: int) -> None:
        if self.app.get_state(config(thread)).created_at is not None:
            self.app.update_state(config(thread), {"messages": [said("update", size)]}, as_node="think")

    def back(self, thread: str, steps: int) -> Any:
        history = list(self.app.get_state_history(config(thread)))
        return self.app.invoke(None, history[steps % len(history)].config) if history else None

    def copy(self, thread: str, _: int) -> None:
        other = "b" if thread == "a" else "a"
        self.saver.delete_thread(other)
        self.saver.copy_thread(thread, other)

    def prune(self, thread: str, _: int) -> None:
        self.saver.prune([thread])

    def delete(self, thread: str, _: int) -> None:
        self.saver.delete_thread(thread)

    def seen(self) -> Any:
        return [[shown(state) for state in self.app.get_state_history(config(thread))] for thread in "ab"]


@settings(max_examples=40)
@given(
    builder=st.sampled_from(sorted(BUILDERS)),
    over=st.sampled_from([0, 4096]),
    operations=st.lists(OPERATIONS, min_size=1, max_size=8),
)
def test_a_saver_with_a_chain_and_a_plain_one_agree_after_every_step(
    builder: str, over: int, operations: list[tuple[str, str, int]]
) -> None:
    plain, ours = World(builder, None, over), World(builder, MemoryStore(), over)
    for name, thread, number in operations:
        if builder == "deltas" and name in FORGETTING:
            continue
        assert ours.do(name, thread, number) == plain.do(name, thread, number)
        assert ours.seen() == plain.seen()
    ours.restart()
    assert ours.seen() == plain.seen(), "nothing that a process remembers is needed"
    if not any(name == "copy" for name, _, _ in operations):
        for thread in "ab":
            ours.saver.delete_thread(thread)
        assert ours.store is not None
        assert asyncio.run(keys_in(ours.store)) == []
