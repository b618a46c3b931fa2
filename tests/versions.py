"""Runs core and Temporal tests on what is supported: ``python -m tests.versions [case ...]``.

The cases: each Python of pyproject.toml's classifiers that is on this machine, with what the lock file has; each of the
last three minor releases of temporalio, on this Python; each of these with older releases of cryptography, for the drills of
roll-out and replay alone; and ``lowest``, the oldest release of every package that pyproject.toml admits. Prints a line for each, and exits 1 if one of them failed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from packaging.version import Version

from tests.environments import LOCK, ROOT, Environment, supported_pythons, uv

TEMPORALIO = ("1.33", "1.34", "1.35")
"""The last three minor releases."""
CRYPTOGRAPHY = ("44.0.0", "47.0.0")
"""Beside the one that is locked: the oldest that is admitted, and the first that breaks where it is loaded twice."""
_IN_FRESH_PROCESSES = ("test_rollout.py", "test_sandbox.py", "test_one_file.py")
"""In ``integrations/temporal``: what is tried with each of these and each release of temporalio."""
_NEEDS_LATEST = ("test_approval_gate.py", "test_read_also.py")
"""In ``integrations/temporal``: they drive what temporalio has had since 1.35, its time skipper and its driver for GCS."""
_FOLDERS = ("codecs", "format", "storage", "testing", "integrations/temporal")


def main(wanted: list[str]) -> int:
    """Run the cases that are named, or all."""
    cases: dict[str, Callable[[Path], Environment | None]] = {}
    for version in supported_pythons():
        cases[f"python-{version}"] = lambda folder, version=version: _with_python(folder, version)  # type: ignore[misc]
    for minor in TEMPORALIO:
        cases[f"temporalio-{minor}"] = lambda folder, minor=minor: _with_temporalio(folder, minor)  # type: ignore[misc]
        for older in CRYPTOGRAPHY:
            name = f"temporalio-{minor}-cryptography-{older}"
            cases[name] = lambda folder, pair=(minor, older): _with_temporalio(folder, *pair)  # type: ignore[misc]
    cases["lowest"] = _with_lowest
    if unknown := set(wanted) - set(cases):
        sys.exit(f"no case is called {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    failed = 0
    for name in wanted or cases:
        with tempfile.TemporaryDirectory(prefix="coatcheck-versions-") as folder:
            environment = cases[name](Path(folder) / "venv")
            code = None if environment is None else _test(environment, only_fresh="-cryptography-" in name)
        failed += code not in {0, None}
        said = {None: "not here", 0: "passes"}.get(code, "FAILS")
        sys.stdout.write(f"{name}: {said}\n")
        sys.stdout.flush()
    return int(failed > 0)


def _with_python(folder: Path, version: str) -> Environment | None:
    python = _find_python(version)
    return None if python is None else _locked(Environment(folder, python))


def _with_temporalio(folder: Path, minor: str, cryptography: str | None = None) -> Environment:
    environment = _locked(Environment(folder))
    environment.install(f"temporalio=={minor}.*")
    if cryptography is not None:
        environment.install(f"cryptography=={cryptography}")
    return environment


def _with_lowest(folder: Path) -> Environment:
    environment = Environment(folder)
    lowest = folder / "lowest.txt"
    uv(
        "pip",
        "compile",
        "--quiet",
        "--all-extras",
        "--resolution",
        "lowest-direct",
        "--group",
        f"{ROOT / 'pyproject.toml'}:dev",
        "--python",
        str(environment.python),
        "--output-file",
        str(lowest),
        str(ROOT / "pyproject.toml"),
    )
    environment.install("--requirement", lowest)
    return _with_sources(environment)


def _locked(environment: Environment) -> Environment:
    environment.install("--require-hashes", "--requirement", LOCK)
    return _with_sources(environment)


def _with_sources(environment: Environment) -> Environment:
    environment.install("--no-deps", "--no-build-isolation", "--editable", ROOT)
    return environment


def _find_python(version: str) -> str | None:
    """From the PATH, or from pyenv, whose programs on the PATH refuse unless it is told to use the version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "--version"], check=False, capture_output=True).returncode == 0:
            return candidate
    return None


def _test(environment: Environment, *, only_fresh: bool) -> int:
    modules = sorted(
        path
        for path in (ROOT / "tests").glob("test_*.py")
        if path.stem not in {"test_lock", "test_distribution"}
    )
    command: list[str | Path] = [
        environment.python,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
    ]
    folders = [ROOT / "tests" / name for name in _FOLDERS]
    if only_fresh:
        modules, folders = [], [ROOT / "tests/integrations/temporal" / name for name in _IN_FRESH_PROCESSES]
    left_out: list[str] = []
    if environment.version("temporalio") < Version(TEMPORALIO[-1]):
        left_out = [f"--ignore={ROOT / 'tests/integrations/temporal' / name}" for name in _NEEDS_LATEST]
    return subprocess.run(
        [*command, *modules, *folders, *left_out], cwd=ROOT, env=environment.variables(), check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
