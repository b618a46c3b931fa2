"""Control of a worker process by the demo."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from coatcheck.cli.demo.errors import DemoError
from coatcheck.cli.demo.settings import WorkerSettings

T = TypeVar("T")
OnTurn = Callable[[int], None]
"""A function that is called with the number of each turn that starts."""


class WorkerProcess:
    """A running worker.

    Args:
        process: The process, its standard output a pipe.
        log: The file of its standard error.
        on_turn: Called with the number of each turn.
    """

    def __init__(self, process: Process, log: Path, on_turn: OnTurn) -> None:
        self._process = process
        self._log = log
        self._on_turn = on_turn
        self._said: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def follow(self) -> None:
        """Read what the worker prints, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode().strip()
            word, _, number = text.partition(" ")
            if word == "turn":
                self._on_turn(int(number))
            self._said[text].set()

    async def says(self, line: str) -> None:
        """Wait until the worker has printed ``line``.

        Raises:
            DemoError: The worker ended before.
        """
        await self.while_alive(self._said[line].wait())

    async def while_alive(self, wanted: Awaitable[T]) -> T:
        """Await ``wanted`` and return its result.

        Raises:
            DemoError: The worker ended before.
        """
        task = asyncio.ensure_future(wanted)
        end = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            task.cancel()
            end.cancel()
        raise DemoError(f"a worker process ended with status {self._process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line that the worker logged."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it logged nothing"

    async def kill(self) -> None:
        """Kill the worker by SIGKILL, without clean-up."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def worker_process(
    settings: WorkerSettings, environment: Mapping[str, str], log: Path, on_turn: OnTurn
) -> AsyncIterator[WorkerProcess]:
    """Start a worker process, wait until it accepts work, and kill it at the end.

    Args:
        settings: The worker's settings.
        environment: Variables that it gets in addition to those of this process.
        log: The file to which its standard error is appended.
        on_turn: Called with the number of each turn that starts.

    Raises:
        DemoError: The worker ended before it was ready.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "coatcheck.cli.demo.worker",
            settings.to_text(),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            env={**os.environ, **environment},
        )
    worker = WorkerProcess(process, log, on_turn)
    following = asyncio.create_task(worker.follow())
    try:
        await worker.says("ready")
        yield worker
    finally:
        await worker.kill()
        await following
