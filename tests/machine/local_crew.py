"""Processes that are all in this one: they share the store and nothing else. The same happens each time."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.machine.clocks import Clocks
from tests.machine.crew import Crew, Ground, Job, end
from tests.machine.process import Answer, Process, Setting
from tests.retention.aged_store import Aged, AgedStore


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
            end(loop)

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
        end(self._members[slot].loop)
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
        end(member.loop)
