"""The example runs as it stands."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.engines.process import running
from tests.engines.temporal import TemporalServer

EXAMPLE = Path(__file__).parents[3] / "examples" / "temporal_agent.py"


async def test_the_example_keeps_its_conversation_out_of_the_history(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    environment = {**os.environ, "TEMPORAL_ADDRESS": temporal_server.address, "TMPDIR": str(tmp_path)}
    log = tmp_path / "log"
    serve, talk = ([sys.executable, str(EXAMPLE), role] for role in ("serve", "talk"))
    with running(serve, log, up=lambda: "working" in log.read_text(), environment=environment):
        done = await asyncio.to_thread(
            subprocess.run, talk, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, ""), log.read_text()
    assert "14 messages" in done.stdout
    said, _, kept = (
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:char|ev|by)", done.stdout)
    )
    assert said > 270_000
    assert kept < 15_000
