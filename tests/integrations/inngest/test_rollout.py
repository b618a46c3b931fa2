"""The roll-out and the way back, each step a fresh process that takes over what is in flight: no run fails."""

import asyncio
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from coatcheck.integrations.inngest import MARKER, claim_check
from tests.engines.inngest import InngestServer
from tests.engines.process import free_port
from tests.integrations.inngest.rollout_process import SIZE, app_at
from tests.integrations.inngest.serving import App, closing, register, text, until
from tests.rollout import SEALED, STEPS, chain_at, notes_in


@contextmanager
def process(server: InngestServer, name: str, folder: Path, port: int, step: str) -> Iterator[None]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.integrations.inngest.rollout_process"]
    with subprocess.Popen(
        [*command, server.url, name, str(folder), str(port), step], stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline() == "ready\n"
            yield
        finally:
            started.kill()


async def finished(app: App, sent: str, task: str) -> dict[str, Any]:
    """The run, when what it waits for has come. The server says nowhere that it now waits."""
    ended = asyncio.create_task(app.server.runs_of(sent))
    while not ended.done():
        await app.send("open", task=task, text=text(SIZE, f"{task} gate"))
        await asyncio.wait({ended}, timeout=0.3)
    [run] = await ended
    return run


def result_of(task: str) -> list[str]:
    return [text(SIZE, f"{task} {part}") for part in ("before", "invoked", "gate", "after")]


@pytest.mark.long
async def test_no_run_fails_at_any_step(inngest_server: InngestServer, tmp_path: Path) -> None:
    name, port = f"app-{uuid4().hex[:12]}", free_port()
    in_flight: dict[str, str] = {}
    for step in STEPS:
        app, chain = app_at(step, inngest_server, name, tmp_path), chain_at(step, tmp_path)
        with process(inngest_server, name, tmp_path, port, step):
            async with closing(app):
                await register(port)
                for task, sent in in_flight.items():
                    run = await finished(app, sent, task)
                    assert run["status"] == "Completed", run
                    assert (MARKER in run["output"]) == (step in SEALED)
                    output = await claim_check(chain).unwrap(run["output"]) if chain else run["output"]
                    assert output == result_of(task)
                if step == STEPS[-1]:
                    break
                task = f"at {step}"
                shutil.rmtree(tmp_path / "requests", ignore_errors=True)
                in_flight = {task: await app.send("go", task=task, text=text(SIZE, task))}
                # What the first request came to is journaled before the second.
                await until(lambda: len(notes_in(tmp_path / "requests")) > 1)
    done = Counter(notes_in(tmp_path))
    assert set(done.values()) == {1}, done
    assert len(done) == 2 * (len(STEPS) - 1)
