import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "aws_durable_agent.py"


@pytest.mark.long
async def test_the_example_is_killed_and_goes_on_where_it_was(tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "AGENT_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "killed by signal 9" in done.stdout
    assert "12 thoughts were had for 12 turns" in done.stdout
    said = re.search(r"([\d,]+) characters", done.stdout)
    kept = re.search(r"take ([\d,]+) bytes", done.stdout)
    assert said is not None
    assert kept is not None
    assert int(said[1].replace(",", "")) > 256 * 1024
    assert int(kept[1].replace(",", "")) < 2500
