"""A worker that is killed anywhere in a turn: another one goes on, and nothing refers to what is not there."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from coatcheck import FileStore
from tests.integrations.langgraph.graphs import agent
from tests.integrations.langgraph.process import run_agent, saver_in
from tests.integrations.langgraph.test_graphs import config

EVERY = int(os.environ.get("COATCHECK_LANGGRAPH_KILL_EVERY", "13"))
"""Every how many steps one is killed; 1 for all of them."""


class Countdown:
    """Kills its process at the beginning or the end of the store's or the database's n-th call."""

    def __init__(self, left: int) -> None:
        self.left = left

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(FileStore):
    """A store whose calls count."""

    countdown: Countdown

    async def create(self, key: str, data: bytes) -> bool:
        self.countdown.step()
        created = await super().create(key, data)
        self.countdown.step()
        return created


def mortal(folder: Path, countdown: Countdown) -> Any:
    """An agent each of whose writes counts, those of SQLite by statement."""
    store = MortalStore(folder / "store")
    store.countdown = countdown
    saver = saver_in(folder, store)
    saver.saver.conn.set_trace_callback(lambda statement: countdown.step())  # type: ignore[attr-defined]
    return agent().compile(checkpointer=saver)


def lived(folder: Path, steps: int) -> bool:
    """Run an agent in a child; False if it was killed."""
    child = os.fork()
    if child == 0:
        try:
            run_agent(mortal(folder, Countdown(steps)))
        except BaseException:  # noqa: BLE001 - nothing of the parent's may go on here
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == 0


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_killed_worker_loses_nothing_and_leaves_no_reference_to_a_missing_object(tmp_path: Path) -> None:
    expected = run_agent(agent().compile(checkpointer=InMemorySaver()))
    steps, kills = EVERY, 0
    while not lived(folder := tmp_path / str(steps), steps):
        kills += 1
        steps += EVERY
        fresh = saver_in(folder)
        for found in fresh.list(None):
            assert found.checkpoint["id"], "each one that is there can be read"
        assert run_agent(agent().compile(checkpointer=fresh)) == expected
        assert asyncio.run(_history(folder)) > 3
    assert kills > 5


async def _history(folder: Path) -> int:
    return len(list(saver_in(folder).list(config("t"))))
