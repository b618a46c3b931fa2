"""The example runs as it stands, and keeps its promises."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "durabletask_agent.py"


def test_a_worker_that_is_killed_is_taken_over_byte_for_byte() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "killed with SIGKILL while it waited" in done.stdout
    assert "byte for byte: True" in done.stdout
    assert "12 turns were taken of 12" in done.stdout
    size = int(done.stdout.split(" bytes of history")[0].split()[-1].replace(",", ""))
    assert size < 16_000
