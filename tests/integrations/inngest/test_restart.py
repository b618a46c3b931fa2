"""Whoever serves a run is killed in the middle of a step; another process goes on."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coatcheck.integrations.inngest import claim_check
from tests.engines.inngest import InngestServer
from tests.engines.process import free_port
from tests.integrations.inngest.process import SIZE, STEPS, chain_in
from tests.integrations.inngest.serving import closing, new_app, register, text


@contextmanager
def process(
    server: InngestServer, name: str, folder: Path, port: int, hang_in: int
) -> Iterator["subprocess.Popen[str]"]:
    arguments = [server.url, name, str(folder), str(port), str(hang_in)]
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.integrations.inngest.process", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


async def test_a_kill_in_the_middle_of_a_step(inngest_server: InngestServer, tmp_path: Path) -> None:
    check = claim_check(chain_in(tmp_path))
    app = new_app(inngest_server, check)
    port = free_port()
    asked = {"id": str(uuid.uuid4()), "text": text(SIZE, "asked")}
    async with closing(app):
        with process(inngest_server, app.name, tmp_path, port, hang_in=4) as first:
            await register(port)
            sent = await app.send("go", **asked)
            assert first.stdout is not None
            assert first.stdout.readline() == "hanging\n"
        with process(inngest_server, app.name, tmp_path, port, hang_in=-1):
            [run] = await inngest_server.runs_of(sent)
    assert run["status"] == "Completed", run
    said = [text(SIZE, f"{number} {number}") for number in range(STEPS)]
    assert await check.unwrap(run["output"]) == {"said": said, "asked": asked}
    # The event, the steps and the result: nothing was stored twice.
    objects = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(objects) == STEPS + 2
