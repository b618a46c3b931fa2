"""The process of an agent is killed in the middle of a step; another one goes on. The example does so on SQLite."""

import subprocess
import sys
from pathlib import Path

from dbos import DBOS

from tests.integrations.dbos.agents import PATIENCE, launched, serializer_on, text
from tests.integrations.dbos.process import TURNS, WORKFLOW


def start(url: str, folder: Path, hang_in: int) -> "subprocess.Popen[str]":
    arguments = [url, str(folder / "store"), str(folder / "effects"), str(hang_in)]
    command = [sys.executable, "-W", "ignore", "-m", "tests.integrations.dbos.process", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_kill_in_the_middle_of_a_step(postgres: str, tmp_path: Path) -> None:
    with start(postgres, tmp_path, hang_in=3) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "hanging\n"
        first.kill()
    with start(postgres, tmp_path, hang_in=-1) as second:
        said, _ = second.communicate(timeout=PATIENCE)
    assert said == "done\n"
    wanted = [text("asked"), *(text(f"turn {turn}", 5000) for turn in range(TURNS))]
    with launched(postgres, serializer_on(tmp_path / "store")):
        assert DBOS.retrieve_workflow(WORKFLOW).get_result() == wanted
    # The step that was under way is begun again, as DBOS has it; none that was done.
    assert (tmp_path / "effects").read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]
    # The input, which direct calls write in the workflow's own scope, and a result for each turn; the last is the output too.
    objects = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(objects) == TURNS + 1
