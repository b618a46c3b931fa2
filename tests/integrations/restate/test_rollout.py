"""The roll-out and the way back, each step a fresh process that takes over what is in flight: no invocation fails."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest

from coatcheck import Scope
from tests.engines.process import free_port, running
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import SECRET, text
from tests.integrations.restate.hosting import MODES, Protocol, listening, until
from tests.rollout import SEALED, STEPS, chain_at, notes_in

NAMES = {step: step.replace(" ", "-").replace(",", "") for step in STEPS}


@contextmanager
def service(port: int, folder: Path, mode: Protocol, step: str) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "tests.integrations.restate.rollout_process",
        str(port),
        str(folder),
        mode,
        step,
    ]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with running(command, folder / "service.log", up=lambda: True, stop=SIGKILL, environment=path):
        yield


class Drill:
    """Callers without a key, who see the server and what the handlers have noted."""

    def __init__(self, server: RestateServer, folder: Path, outside: httpx.AsyncClient) -> None:
        self._server = server
        self._folder = folder
        self._outside = outside

    async def begin(self, handler: str, task: str) -> str:
        sent = await self._outside.post(f"/RolledOut/{handler}/send", json=task)
        sent.raise_for_status()
        await until(lambda: f"{task} before" in notes_in(self._folder))
        return str(sent.json()["invocationId"])

    async def settle(self, invocation: str, entries: int) -> None:
        """Wait until so much of it is journaled."""

        async def journaled() -> bool:
            rows = await self._server.query(f"select id from sys_journal where id = '{invocation}'")  # noqa: S608 - ours
            return len(rows) >= entries

        await until(journaled)

    async def open(self, task: str) -> None:
        gate = (self._folder / f"{task}.gate").read_text()
        answer = await self._outside.post(f"/restate/awakeables/{gate}/resolve", json=text(f"{task} gate"))
        answer.raise_for_status()

    async def result(self, invocation: str, step: str) -> str:
        answer = await self._outside.get(f"/restate/invocation/{invocation}/attach", timeout=60)
        assert answer.is_success, answer.text
        return await self.opened(answer, step)

    async def opened(self, answer: httpx.Response, step: str) -> str:
        chain = chain_at(step, self._folder)
        assert (SECRET.encode() in answer.content or not answer.content.strip(b'"')) == (step not in SEALED)
        data = await chain.decode(answer.content, Scope("default")) if chain else answer.content
        return data.decode().strip('"')

    async def remembered(self, step: str) -> str:
        """What the object had from the step before."""
        answer = await self._outside.post(
            f"/RolledOutMemory/{self._folder.name}/remember", json=step, timeout=60
        )
        assert answer.is_success, answer.text
        return await self.opened(answer, step)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
async def test_no_invocation_fails_at_any_step(
    restate_server: RestateServer, tmp_path: Path, mode: Protocol
) -> None:
    port = free_port()
    waiting: dict[str, str] = {}
    sleeping: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=restate_server.ingress) as outside:
        drill = Drill(restate_server, tmp_path, outside)
        for number, step in enumerate(STEPS):
            with service(port, tmp_path, mode, step):
                await listening(port)
                if number == 0:
                    uri = f"http://127.0.0.1:{port}"
                    await restate_server.register(uri, http1=mode == "request_response")
                # What the step before has left: a run that waits, and one that sleeps.
                for task, invocation in waiting.items():
                    await drill.open(task)
                    said = "".join(text(f"{task} {part}") for part in ("before", "gate", "after"))
                    assert await drill.result(invocation, step) == task + said
                for task, invocation in sleeping.items():
                    said = text(f"{task} before") + text(f"{task} after")
                    assert await drill.result(invocation, step) == task + said
                before = await drill.remembered(step)
                assert before == (text(STEPS[number - 1]) if number else "")
                if number == len(STEPS) - 1:
                    break
                wait, sleep = f"wait-{NAMES[step]}-{mode}", f"sleep-{NAMES[step]}-{mode}"
                waiting, sleeping = (
                    {wait: await drill.begin("wait", wait)},
                    {sleep: await drill.begin("sleep", sleep)},
                )
                await until(partial((tmp_path / f"{wait}.gate").exists))
                # The input, the step, its result, and what it waits for.
                for invocation in (*waiting.values(), *sleeping.values()):
                    await drill.settle(invocation, 3)
    done = Counter(notes_in(tmp_path))
    assert set(done.values()) == {1}, done
    assert len(done) == 4 * (len(STEPS) - 1)
