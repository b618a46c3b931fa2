"""A mounted file system without hard links, owners and modes: exFAT, from Debian's packages."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.engines.requirement import unavailable

PACKAGES: Final = ("exfat-fuse", "exfatprogs")
_PROGRAMS: Final = ("losetup", "mkfs.exfat", "mount.exfat-fuse", "umount")
_BYTES: Final = 8 << 20


def missing() -> list[str]:
    """The programs that are not here."""
    return [name for name in _PROGRAMS if shutil.which(name) is None]


@contextmanager
def mounted(below: Path) -> Iterator[Path]:
    """The folder of a new file system of 8 MiB for the length of the block; skip or fail if it cannot be had."""
    if missing() or os.geteuid() != 0:
        unavailable("exFAT", f"it takes root, and apt-get install {' '.join(PACKAGES)}")
    image, folder = below / "image", below / "mounted"
    image.write_bytes(bytes(_BYTES))
    folder.mkdir()
    _run("mkfs.exfat", str(image))
    try:
        device = _run("losetup", "-f", "--show", str(image)).strip()
    except subprocess.CalledProcessError:
        pytest.skip("this machine has no loop devices")
    try:
        try:
            _run("mount.exfat-fuse", device, str(folder))
        except subprocess.CalledProcessError:
            pytest.skip("this machine has no FUSE")
        try:
            yield folder
        finally:
            _run("umount", "-l", str(folder))
    finally:
        _run("losetup", "-d", device)


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout
