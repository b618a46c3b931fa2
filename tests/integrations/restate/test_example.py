import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

from tests.engines.process import free_port, running
from tests.engines.restate import RestateServer
from tests.integrations.restate.hosting import listening

EXAMPLE = Path(__file__).parents[3] / "examples" / "restate_agent.py"


async def test_the_example_keeps_its_conversation_out_of_the_journal(
    restate_server: RestateServer, tmp_path: Path
) -> None:
    port = free_port()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    serve = [sys.executable, str(EXAMPLE), "serve", str(port)]
    with running(serve, tmp_path / "log", up=lambda: True, stop=SIGKILL, environment=environment):
        await listening(port)
        done = await asyncio.to_thread(
            subprocess.run,
            [
                *(sys.executable, str(EXAMPLE), "talk"),
                *(restate_server.ingress, restate_server.admin, f"http://127.0.0.1:{port}"),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "14 messages" in done.stdout
    said = re.search(r"([\d,]+) characters", done.stdout)
    assert said is not None
    assert int(said[1].replace(",", "")) > 270_000
