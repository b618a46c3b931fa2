"""The example runs as it stands, and keeps its promises."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "dbos_agent.py"


def test_a_killed_agent_ends_as_one_that_was_never_killed() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "killed with SIGKILL in step 8" in done.stdout
    assert "took over and made 5 steps" in done.stdout
    assert "byte for byte: True" in done.stdout
    [kept] = re.findall("12 steps take ([0-9,]+) characters", done.stdout)
    assert int(kept.replace(",", "")) < 4000
