"""Fresh environments, what goes into them, and the wheel to try there."""

import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements-dev.txt"


def project() -> dict[str, Any]:
    """The table ``[project]`` of pyproject.toml."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return settings


def supported_pythons() -> list[str]:
    """Those that pyproject.toml claims, such as ``3.11``."""
    claimed = [text.rpartition(" :: ")[2] for text in project()["classifiers"] if ":: Python :: 3." in text]
    return [version for version in claimed if version != "3"]


def direct_requirements() -> list[Requirement]:
    """What pyproject.toml asks for itself: the core, every extra and the group ``dev``."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = settings["project"]["optional-dependencies"]
    groups = [settings["project"]["dependencies"], *extras.values(), settings["dependency-groups"]["dev"]]
    asked = [Requirement(text) for group in groups for text in group]
    return [one for one in asked if one.name != "coatcheck"]


def build(source: Path, kind: str, out: Path) -> Path:
    """Build the ``sdist`` or ``wheel`` of ``source`` with the build backend that is installed here."""
    subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", out, source],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (built,) = out.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return built


def wheel_to_try(out: Path) -> Path:
    """The wheel that ``COATCHECK_WHEEL`` names, or one that is built here, from the sdist, below ``out``."""
    if named := os.environ.get("COATCHECK_WHEEL"):
        return ROOT / named
    sdist = build(ROOT, "sdist", out / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(out / "unpacked", filter="data")
    (unpacked,) = (out / "unpacked").iterdir()
    return build(unpacked, "wheel", out / "wheel")


class Environment:
    """A new virtual environment.

    Args:
        folder: Where; it must not exist.
        python: A version or a program that uv finds. Defaults to the one that runs this.
    """

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        uv("venv", "--quiet", "--seed", "--no-project", "--python", python, str(folder))

    def install(self, *arguments: str | Path) -> None:
        """``uv pip install`` with these arguments; compiled, as pip leaves it."""
        uv(
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            str(self.python),
            *map(str, arguments),
        )

    def version(self, distribution: str) -> Version:
        """Of what is installed here."""
        asked = f"import importlib.metadata as m; print(m.version({distribution!r}))"
        said = subprocess.run([self.python, "-c", asked], check=True, capture_output=True, text=True)
        return Version(said.stdout.strip())

    def check(self) -> None:
        """Fail unless every installed distribution has what its metadata asks for."""
        uv("pip", "check", "--quiet", "--python", str(self.python))

    def variables(self) -> dict[str, str]:
        """Environment variables for programs in it: nothing of this process's Python or of coatcheck's settings."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COATCHECK_", "PYTHON", "VIRTUAL_ENV"))
        }
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}"}


def uv(*arguments: str) -> None:
    """Run uv, the one that is installed here."""
    beside = Path(sys.executable).with_name("uv")
    subprocess.run([beside if beside.exists() else "uv", *arguments], check=True, timeout=900)
