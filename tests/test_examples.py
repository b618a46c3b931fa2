"""The examples run as they stand, and keep their promises."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_a_killed_agent_ends_as_one_that_was_never_killed() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "checkpointed_agent.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "killed with SIGKILL in step 8" in done.stdout
    assert "took over after step 7 and made 5 steps" in done.stdout
    assert "byte for byte: True" in done.stdout
    assert "called 13 times, and 12 refunds were made" in done.stdout
