"""A process of ours that does as it is told: a task in JSON on each line of its standard input, the answer on its output."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

Task = dict[str, Any]
Answer = dict[str, Any]


class HelperError(Exception):
    """The process ended before it answered; it has said why on its standard error."""


class Helper:
    """The process, as seen by who started it. One task at a time."""

    def __init__(self, name: str, process: Process) -> None:
        self._name = name
        self._process = process

    async def ask(self, within: float, **task: Any) -> Answer:
        """Hand over a task, and wait for the answer.

        Args:
            within: Seconds.
            **task: Values that JSON can hold.

        Raises:
            HelperError: The process ended instead.
            TimeoutError: No answer ``within`` these seconds. The process is of no use then.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task).encode() + b"\n")
        try:
            async with asyncio.timeout(within):
                while line := await self._process.stdout.readline():
                    if line.startswith(b"{"):  # engines log into the same pipe
                        answer: Answer = json.loads(line)
                        return answer
        except TimeoutError as error:
            raise TimeoutError(f"{self._name} has not done {task} within {within:g} s") from error
        raise HelperError(f"{self._name} ended by itself")


@asynccontextmanager
async def helper(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Helper]:
    """Start ``python -m MODULE ARGUMENTS``, and kill it at the end.

    Args:
        module: Calls :func:`obey`.
        *arguments: Its command line.
        environment: Variables that it gets beside those of this process.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield Helper(module, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def obey(do: Callable[[Task], Awaitable[Answer]]) -> None:
    """Be such a process: do the tasks one after the other, until standard input ends, as it does when the parent dies."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await do(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
