"""Checkpoints for code that cannot await."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import assert_type

import pytest
from pydantic import BaseModel

from coatcheck import (
    Checkpoint,
    CheckpointConflict,
    Checkpoints,
    ConfigError,
    MemoryStore,
    PayloadNotFound,
    Reference,
)
from tests.chains import encrypted_chain
from tests.patience import run_for_at_most


class State(BaseModel):
    step: int
    text: str = "x" * 2000


def state(step: int) -> State:
    return State(step=step)


def test_a_run_from_its_first_step_to_its_last() -> None:
    checkpoints = Checkpoints(encrypted_chain(), run="run")
    sync = checkpoints.sync
    assert sync.latest() is None
    with pytest.raises(PayloadNotFound):
        sync.restore()
    references = [sync.save(state(step), step) for step in range(1, 6)]
    assert sync.restore(into=State) == state(5)
    assert sync.read(step=2, into=State) == state(2)
    assert sync.restore(references[2], into=State) == state(3)
    assert sync.at(4).step == 4
    assert [found.step for found in sync.history()] == [5, 4, 3, 2, 1]
    assert [found.step for found in sync.history(limit=2)] == [5, 4]
    assert [found.step for found in sync.listing()] == [5, 4, 3, 2, 1]
    assert sync.fork("other", step=2).sync.restore(into=State) == state(2)
    # It is the same writer: it goes on from what was restored, however that was asked for.
    assert sync.restore(step=5, into=State) == state(5)
    assert asyncio.run(checkpoints.save(state(6), 6)) == sync.at(6).reference
    assert sync.delete() == 6
    assert sync.latest() is None


def test_types_are_those_of_the_asynchronous_methods() -> None:
    sync = Checkpoints(encrypted_chain(), run="run").sync
    assert_type(sync.save(state(1), step=1), Reference)
    assert_type(sync.restore(into=State), State)
    assert_type(sync.read(into=State), State)
    assert_type(sync.latest(), Checkpoint | None)
    assert_type(next(sync.history()), Checkpoint)


def test_another_writer_is_told_of() -> None:
    chain = encrypted_chain()
    one, two = (Checkpoints(chain, run="run").sync for _ in range(2))
    one.save(state(1), 1)
    two.restore()
    one.save(state(2), 2)
    with pytest.raises(CheckpointConflict):
        two.save(state(2).model_copy(update={"text": "another"}), 2)


async def test_a_history_is_left_in_the_middle() -> None:
    sync = Checkpoints(encrypted_chain(), run="run").sync
    for step in range(40):
        sync.save({"step": step}, step)
    found = sync.history()
    assert next(found).step == 39
    for number, checkpoint in enumerate(sync.history()):
        assert checkpoint.step == 39 - number
        if number == 30:
            break


def test_saves_of_many_threads_happen_one_after_the_other() -> None:
    sync = Checkpoints(encrypted_chain(), run="run").sync
    lock, steps = threading.Lock(), iter(range(40))

    def save(_: int) -> None:
        with lock:
            step = next(steps)
        sync.save({"step": step}, step)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(40)))
    assert sorted({found.step for found in sync.history()}) == list(range(40))


class _Gate(MemoryStore):
    """Creates nothing before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.closed = True

    async def create(self, key: str, data: bytes) -> bool:
        if self.closed:
            self.reached.set()
            await self.opened.wait()
        return await super().create(key, data)


def test_a_save_waited_for_one_of_the_loop_that_it_held_up() -> None:
    async def use() -> list[int]:
        store = _Gate()
        checkpoints = Checkpoints(encrypted_chain(store), run="run")
        first = asyncio.create_task(checkpoints.save(state(1), 1))
        await store.reached.wait()
        with pytest.raises(ConfigError, match="Use the asynchronous method"):
            checkpoints.sync.save(state(2), 2)
        # One of another thread that waits behind it, too.
        turn = checkpoints._turns._last
        behind = asyncio.create_task(asyncio.to_thread(checkpoints.sync.save, state(2), 2))
        while checkpoints._turns._last is turn:  # noqa: ASYNC110 - another thread asks for it
            await asyncio.sleep(0.01)
        with pytest.raises(ConfigError, match="Use the asynchronous method"):
            checkpoints.sync.save(state(3), 3)
        # It is no matter of another run, nor of reading.
        store.closed = False
        Checkpoints(encrypted_chain(store), run="other").sync.save(state(1), 1)
        assert checkpoints.sync.latest() is None
        store.opened.set()
        await asyncio.gather(first, behind)
        checkpoints.sync.save(state(3), 3)
        return [found.step for found in checkpoints.sync.history()]

    assert run_for_at_most(60, use) == [3, 2, 1]
