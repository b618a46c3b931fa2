"""sdist -> wheel: what a user installs has every module, and nothing of the tests."""

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import coatcheck
from tests.environments import ROOT, build

PACKAGE = ROOT / "src" / "coatcheck"

pytestmark = pytest.mark.skipif(
    not PACKAGE.exists(), reason="the suite runs against a wheel, without the sources"
)


def test_the_wheel_built_from_the_sdist_has_every_module(tmp_path: Path) -> None:
    sdist = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build(unpacked, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    folders = [PACKAGE, *(PACKAGE / name for name in ("codecs", "stores", "integrations"))]
    files = {
        f"coatcheck/{path.relative_to(PACKAGE)}"
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == files
    assert {"coatcheck/codecs/zstd.py", "coatcheck/stores/file.py", "coatcheck/py.typed"} <= inside


def test_one_version_everywhere(tmp_path: Path) -> None:
    """``src/coatcheck/_version.py`` is where it stands; everything else repeats it."""
    expected = coatcheck.__version__
    sdist, wheel = (build(ROOT, kind, tmp_path / kind) for kind in ("sdist", "wheel"))
    assert sdist.name == f"coatcheck-{expected}.tar.gz"
    assert wheel.name == f"coatcheck-{expected}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"coatcheck-{expected}.dist-info/METADATA"))
    with tarfile.open(sdist) as archive:
        information = archive.extractfile(f"coatcheck-{expected}/PKG-INFO")
        assert information is not None
        described = email.message_from_bytes(information.read())
    assert (metadata["Version"], described["Version"], version("coatcheck")) == (expected,) * 3
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changes.replace("## [Unreleased]", ""), re.MULTILINE)
    assert newest is not None
    assert newest[1] == expected


def test_a_checkout_without_links_fails_to_build_with_a_clear_message(tmp_path: Path) -> None:
    """Where links are off, git writes a small text file with the link's target."""
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "src", checkout / "src", symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "build_hook.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout / name)
    link = checkout / "src" / "coatcheck" / "codecs"
    link.unlink()
    link.write_text("../../codecs")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "out", checkout],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "must be a symbolic link to ../../codecs" in done.stdout + done.stderr
