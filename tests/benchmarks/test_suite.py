"""What runs all benchmarks: one that fails is reported and the others run; interrupted, nothing changes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmarks.__main__ as runner
from benchmarks.harness.suite import PARTS, Part, run


def part(does: str, folder: Path, limit: float = 60.0) -> Part:
    command = f"tests.benchmarks.example_part {does} {folder / does}.said"
    return Part(does, f"What if it {does}?", command, limit)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def run_all(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> int:
    monkeypatch.setattr(runner, "PARTS", [part(name, folder.parent) for name in names])
    return runner.main(["--to", str(folder)])


def test_every_target_held(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    assert run_all(monkeypatch, results, "held") == 0
    page = (results / "README.md").read_text("utf-8")
    assert "**1 of 1 targets met.**" in page
    assert "| here | 0.5 | at most 1 | yes |" in page
    assert json.loads((results / "held.json").read_text("utf-8"))[0]["value"] == 0.5
    said = {(row["case"], row["name"]): row for row in json.loads((results / "run.json").read_text("utf-8"))}
    assert all(set(row) == {"case", "name", "value", "unit"} for row in said.values())
    assert said["noise", "fixed_work_min"]["value"] <= said["noise", "fixed_work_max"]["value"]
    assert said["machine", "temporalio"]["value"]


def test_a_missed_target_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    assert run_all(monkeypatch, results, "missed") == 1
    assert "- missed: here: 2, at most 1" in (results / "README.md").read_text("utf-8")


def test_a_part_that_fails_is_reported_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    assert run_all(monkeypatch, results, "fails", "held") == 1
    page = (results / "README.md").read_text("utf-8")
    assert "**1 of 1 targets met; failed: fails.**" in page
    assert "- failed: fails: exit code 1" in page
    assert (results / "held.json").exists()


def test_a_part_that_takes_too_long_is_ended_and_cleans_up(tmp_path: Path) -> None:
    outcome = run(part("waits", tmp_path, limit=3), tmp_path)
    assert outcome.failure == "not done after 3 s"
    assert (tmp_path / "waits.said").read_text("utf-8") == "cleaned up"


def test_interrupted_everything_is_as_it_was(results: Path) -> None:
    results.mkdir()
    (results / "README.md").write_text("before", encoding="utf-8")
    said = results.parent / "waits.said"
    program = (
        "import sys; from pathlib import Path; import benchmarks.__main__ as runner; "
        "from tests.benchmarks.test_suite import part; "
        "runner.PARTS = [part('waits', Path(sys.argv[1]))]; "
        "sys.exit(runner.main(['--to', sys.argv[2]]))"
    )
    command = [sys.executable, "-c", program, str(results.parent), str(results)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not said.exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert said.read_text("utf-8") == "cleaned up"
    assert [path.name for path in results.iterdir()] == ["README.md"]
    assert (results / "README.md").read_text("utf-8") == "before"
    assert {path.name for path in results.parent.iterdir()} == {"results", "waits.said"}


def test_parts_have_names_of_their_own() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)
