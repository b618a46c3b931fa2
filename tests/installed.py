"""Runs the suite against the wheel: ``python -m tests.installed [pytest arguments]``.

Builds sdist and wheel, installs the wheel into a new environment with what the tests need, copies the tests to a
folder without the sources, and runs them there.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    """Build, install, copy, run; returns pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="coatcheck-wheel-") as folder:
        work = Path(folder)
        subprocess.run([sys.executable, "-m", "build", "--outdir", work / "dist", ROOT], check=True)
        (wheel,) = (work / "dist").glob("*.whl")
        venv.create(work / "venv", with_pip=True)
        python = work / "venv" / "bin" / "python"
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        extras = ",".join(name for name in settings["project"]["optional-dependencies"])
        subprocess.run([*pip, f"{wheel}[{extras}]", *settings["dependency-groups"]["dev"]], check=True)
        for name in ("tests", "benchmarks", "examples", "docs"):
            shutil.copytree(ROOT / name, work / "suite" / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", work / "suite")
        # The servers that were built for the tests stay where they are.
        (work / "suite" / ".cache").symlink_to(ROOT / ".cache")
        return subprocess.run(
            [python, "-m", "pytest", *arguments], cwd=work / "suite", check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
