"""Processes of the operating system, driven over pipes: each has nothing but its disk and the stores."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.machine.clocks import Clocks
from tests.machine.crew import Crew, Ground, Job, end
from tests.machine.process import Answer, Process, Setting
from tests.retention.aged_store import Aged, AgedStore


@dataclass
class _Past:
    """What happened to the clocks before a process began."""

    aged: list[Aged]
    elapsed: timedelta


@dataclass(eq=False)
class _Remote:
    process: BaseProcess
    line: "Connection[Any, Any]"


class RemoteCrew(Crew):
    """Each a process of the operating system, which has nothing but its disk and the stores."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self._ground = ground
        self._folder = folder
        self._past = _Past([], timedelta())
        self._members: dict[int, _Remote] = {}

    def start(self, slot: int, setting: Setting) -> None:
        if slot in self._members:
            self._kill(self._members[slot])
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve,
            args=(there, self._ground, setting, self._folder / str(slot), self._past),
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
        self._past.aged.append(aged)
        self._past.elapsed = elapsed
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
    past: _Past,
) -> None:
    """Be one of a :class:`RemoteCrew`, until it is killed or nobody is at the other end."""
    clocks = Clocks()
    clocks.elapsed = past.elapsed
    shared, replica = ground.stores()
    with clocks.leading():
        process = Process(setting, AgedStore(shared, past.aged), AgedStore(replica), folder)
        loop = ground.new_loop()
        while True:
            try:
                name, args = line.recv()
            except EOFError:
                return
            answer = Answer()
            if name == "new loop":
                end(loop)
                loop = ground.new_loop()
            elif name == "pass time":
                past.aged.append(args[0])
                clocks.elapsed = args[1]
            else:
                answer = loop.run_until_complete(process.call(name, args))
            line.send(answer)
