"""Runs the suite against the wheel: ``python -m tests.installed [pytest arguments]``.

Installs the wheel into a new environment with what the lock file has, copies the tests to a folder without the
sources, and runs them there. The wheel is built for it, unless ``COATCHECK_WHEEL`` names one.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environments import LOCK, ROOT, Environment, wheel_to_try


def main(arguments: list[str]) -> int:
    """Build, install, copy, run; returns pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="coatcheck-wheel-") as folder:
        work = Path(folder)
        environment = Environment(work / "venv")
        environment.install("--require-hashes", "--requirement", LOCK)
        environment.install("--no-deps", wheel_to_try(work / "dist"))
        environment.check()
        for name in ("tests", "benchmarks", "examples", "docs"):
            shutil.copytree(ROOT / name, work / "suite" / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", LOCK.name):
            shutil.copy(ROOT / name, work / "suite")
        # The servers that were built for the tests stay where they are.
        (work / "suite" / ".cache").symlink_to(ROOT / ".cache")
        return subprocess.run(
            [environment.python, "-m", "pytest", *arguments], cwd=work / "suite", check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
