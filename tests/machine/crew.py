"""The processes of a machine: wherever they are, they are given the same work."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from coatcheck import Store
from tests.machine.instant import InstantLoop
from tests.machine.process import Answer, Setting
from tests.retention.aged_store import Aged


@dataclass(frozen=True)
class Ground:
    """Where objects are: the shared store, and its replica elsewhere."""

    stores: Callable[[], tuple[Store, Store]]
    """Called in each process; can be sent to another one where the stores are real."""
    instant: bool
    """Whether nothing of it waits for sockets."""
    deadline: float = 8.0

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return InstantLoop() if self.instant else asyncio.new_event_loop()


@dataclass(frozen=True)
class Job:
    """Something for one process to do."""

    slot: int
    name: str
    args: tuple[Any, ...]
    check: Callable[[Answer], None]
    """Given the answer, unless the process was killed."""
    sweeps: bool = False
    lost: Callable[[], None] = field(default=lambda: None)
    """Called if nobody knows what came of it."""


class Crew(ABC):
    """Some processes, each in a slot; whoever is started anew in a slot finds the disk that was there."""

    @abstractmethod
    def start(self, slot: int, setting: Setting) -> None:
        """Begin a process, in place of the one that is there, which is killed."""

    @abstractmethod
    def ask(self, slot: int, name: str, *args: Any) -> Answer:
        """Have one process do something."""

    @abstractmethod
    def ask_all(self, jobs: Sequence[Job], seed: int) -> list[Answer]:
        """Have several do something at the same time."""

    @abstractmethod
    def ask_and_kill(self, job: Job, turns: int, setting: Setting) -> Answer | None:
        """Have one do something and kill it meanwhile; its answer if it was quicker. Another one begins in its place."""

    @abstractmethod
    def new_loop(self, slot: int) -> None:
        """End the event loop of a process; the next call is on another one."""

    @abstractmethod
    def pass_time(self, aged: Aged, elapsed: timedelta) -> None:
        """Move the clocks."""

    @abstractmethod
    def close(self) -> None:
        """End all of them."""


def end(loop: asyncio.AbstractEventLoop) -> None:
    """As ``asyncio.run`` does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
