import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "langgraph_agent.py"


def test_the_example_goes_on_after_a_kill_and_ends_as_if_nothing_had_been() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "killed with SIGKILL in turn 25" in done.stdout
    assert "another process went on in turn 25; end waits for an approval" in done.stdout
    assert "end paid: approved; the state is that of an agent that was never killed: True" in done.stdout
