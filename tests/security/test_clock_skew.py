"""Processes whose clocks are weeks apart share a folder and its cache: nothing is deleted, nothing is unreadable.

The clocks are exchanged by libfaketime, in processes of their own. Times of files stay the file system's.
"""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

DAY = 24 * 3600


def _take_part(folder: Path, name: str, days: int) -> int:
    """Payloads that a process read whose clock is ``days`` away from ours."""
    spec = find_spec("libfaketime")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    skewed = {"LD_PRELOAD": str(library), "FAKETIME": f"{days:+}d", "NO_FAKE_STAT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.skew_process", str(folder), name],
        env=os.environ | (skewed if days else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    clock, read = map(int, done.stdout.split())
    assert abs(clock - time.time() - days * DAY) < DAY / 2, "the clock is not the one that was asked for"
    return read


def test_nothing_is_lost_between_clocks_that_are_weeks_apart(tmp_path: Path) -> None:
    for number, days in enumerate((0, 30, -30, 400, 0), start=1):
        before = {path for path in (tmp_path / "store").rglob("*") if path.is_file()}
        assert _take_part(tmp_path, f"process-{number}", days) == number
        after = {path for path in (tmp_path / "store").rglob("*") if path.is_file()}
        assert before < after
        assert len(after) == number
