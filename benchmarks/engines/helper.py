"""A helper process: it reads tasks in JSON, one on each line of standard input, and writes the answers to its output."""

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
    """The process ended before it answered; its standard error has the reason."""


class Helper:
    """The process, for the one that started it. One task at a time."""

    def __init__(self, name: str, process: Process) -> None:
        self._name = name
        self._process = process

    async def ask(self, within: float, **task: Any) -> Answer:
        """Send a task and wait for the answer.

        Args:
            within: Seconds to wait.
            **task: Values for JSON.

        Raises:
            HelperError: The process ended without an answer.
            TimeoutError: No answer within these seconds. The process cannot be used any more.
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
    """Start ``python -m MODULE ARGUMENTS``; kill it at the end.

    Args:
        module: A module that calls :func:`obey`.
        *arguments: Its command line.
        environment: Variables in addition to those of this process.
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
    """Do tasks one after the other until standard input ends, which it does when the parent dies."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await do(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
