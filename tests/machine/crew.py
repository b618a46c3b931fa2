"""The processes of a machine, in one process or each in its own: both are given the same work."""

import asyncio
import multiprocessing
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from coatcheck import Store
from tests.machine.clocks import Clocks
from tests.machine.instant import InstantLoop
from tests.machine.process import Answer, Process, Setting
from tests.retention.aged_store import Aged, AgedStore

NewLoop = Callable[[], asyncio.AbstractEventLoop]


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


@dataclass(eq=False)
class _Local:
    process: Process
    loop: asyncio.AbstractEventLoop


class LocalCrew(Crew):
    """All in this process: they share the store and nothing else. Seeded, so that the same happens each time."""

    def __init__(self, ground: Ground, folder: Path, clocks: Clocks) -> None:
        self._ground = ground
        self._folder = folder
        self._clocks = clocks
        self._aged: list[Aged] = []
        self._members: dict[int, _Local] = {}

    def start(self, slot: int, setting: Setting) -> None:
        if slot in self._members:
            self._end(self._members[slot])
        shared, replica = self._ground.stores()
        process = Process(
            setting, AgedStore(shared, self._aged), AgedStore(replica), self._folder / str(slot)
        )
        self._members[slot] = _Local(process, self._ground.new_loop())

    def ask(self, slot: int, name: str, *args: Any) -> Answer:
        member = self._members[slot]
        return member.loop.run_until_complete(member.process.call(name, args))

    def ask_all(self, jobs: Sequence[Job], seed: int) -> list[Answer]:
        chance = random.Random(seed)
        processes = [self._members[job.slot].process for job in jobs]
        for process in processes:
            process.door.unsteady = chance

        async def together() -> list[Answer]:
            calls = [process.call(job.name, job.args) for process, job in zip(processes, jobs, strict=True)]
            return await asyncio.gather(*calls)

        loop = self._ground.new_loop()
        try:
            return loop.run_until_complete(together())
        finally:
            for process in processes:
                process.door.unsteady = None
            _close(loop)

    def ask_and_kill(self, job: Job, turns: int, setting: Setting) -> Answer | None:
        member = self._members[job.slot]

        async def cut() -> Answer | None:
            task = asyncio.ensure_future(member.process.call(job.name, job.args))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return None if task.cancelled() else task.result()

        try:
            return member.loop.run_until_complete(cut())
        finally:
            self.start(job.slot, setting)

    def new_loop(self, slot: int) -> None:
        _close(self._members[slot].loop)
        self._members[slot].loop = self._ground.new_loop()

    def pass_time(self, aged: Aged, elapsed: timedelta) -> None:
        self._aged.append(aged)
        self._clocks.elapsed = elapsed

    def close(self) -> None:
        for member in self._members.values():
            self._end(member)
        self._members.clear()

    def _end(self, member: _Local) -> None:
        member.loop.run_until_complete(member.process.close())
        _close(member.loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """As ``asyncio.run`` does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@dataclass(eq=False)
class _Remote:
    process: multiprocessing.process.BaseProcess
    line: "Connection[Any, Any]"


class RemoteCrew(Crew):
    """Each a process of the operating system, which has nothing but its disk and the stores."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self._ground = ground
        self._folder = folder
        self._aged: list[Aged] = []
        self._elapsed = timedelta()
        self._members: dict[int, _Remote] = {}

    def start(self, slot: int, setting: Setting) -> None:
        if slot in self._members:
            self._kill(self._members[slot])
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve,
            args=(there, self._ground, setting, self._folder / str(slot), self._aged, self._elapsed),
            daemon=True,
        )
        process.start()
        there.close()
        self._members[slot] = _Remote(process, here)

    def ask(self, slot: int, name: str, *args: Any) -> Answer:
        member = self._members[slot]
        member.line.send((name, args))
        answer: Answer = member.line.recv()
        return answer

    def ask_all(self, jobs: Sequence[Job], seed: int) -> list[Answer]:
        for job in jobs:
            self._members[job.slot].line.send((job.name, job.args))
        return [self._members[job.slot].line.recv() for job in jobs]

    def ask_and_kill(self, job: Job, turns: int, setting: Setting) -> Answer | None:
        member = self._members[job.slot]
        member.line.send((job.name, job.args))
        answer = member.line.recv() if member.line.poll(turns / 20_000) else None
        self.start(job.slot, setting)
        return answer

    def new_loop(self, slot: int) -> None:
        self.ask(slot, "new loop")

    def pass_time(self, aged: Aged, elapsed: timedelta) -> None:
        self._aged.append(aged)
        self._elapsed = elapsed
        for slot in self._members:
            self.ask(slot, "pass time", aged, elapsed)

    def close(self) -> None:
        for member in self._members.values():
            self._kill(member)
        self._members.clear()

    @staticmethod
    def _kill(member: _Remote) -> None:
        member.process.kill()
        member.process.join()
        member.line.close()


def _serve(
    line: "Connection[Any, Any]",
    ground: Ground,
    setting: Setting,
    folder: Path,
    aged: list[Aged],
    elapsed: timedelta,
) -> None:
    """Be one of a :class:`RemoteCrew`, until it is killed or nobody is at the other end."""
    clocks = Clocks()
    clocks.elapsed = elapsed
    shared, replica = ground.stores()
    with clocks.leading():
        process = Process(setting, AgedStore(shared, aged), AgedStore(replica), folder)
        loop = ground.new_loop()
        while True:
            try:
                name, args = line.recv()
            except EOFError:
                return
            answer = Answer()
            if name == "new loop":
                _close(loop)
                loop = ground.new_loop()
            elif name == "pass time":
                aged.append(args[0])
                clocks.elapsed = args[1]
            else:
                answer = loop.run_until_complete(process.call(name, args))
            line.send(answer)
