"""Installs the servers that tests need and this machine lacks: ``python -m tests.engines.install``.

Prints one line for each. Never fails: a test run says which servers it went without, and fails on its own
where ``COATCHECK_REQUIRE_ENGINES=1`` asks for all.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from tests.engines import chromium, exfat, pgbouncer, restate
from tests.engines.gcs import FOLDER, MODULE, PROGRAM, VERSION
from tests.engines.postgres import LOCALE_SOURCES, find_programs
from tests.model import checker

_SECONDS = 900


class _CannotBeHadError(Exception):
    """Why a server cannot be installed here."""


def main() -> None:
    """Install what is missing, one server after the other."""
    for name, install in (
        ("PostgreSQL", _postgres),
        ("PgBouncer", _pgbouncer),
        ("Locales", _locales),
        ("exFAT", _exfat),
        ("fake-gcs-server", _fake_gcs_server),
        ("Chromium", _chromium),
        ("Restate", _restate),
        ("Spin", _spin),
    ):
        try:
            said = install()
        except (_CannotBeHadError, OSError, subprocess.SubprocessError) as error:
            said = f"not installed: {error}"
        sys.stdout.write(f"{name}: {said}\n")


def _postgres() -> str:
    if find_programs() is None:
        _install("postgresql")
    return f"ready in {find_programs()}"


def _pgbouncer() -> str:
    if pgbouncer.find_program() is None:
        _install(pgbouncer.PACKAGE)
    return f"ready in {pgbouncer.find_program()}"


def _locales() -> str:
    """Settings that make a server speak another language."""
    if not shutil.which("localedef") or not LOCALE_SOURCES.exists():
        _install("locales")
    return f"ready in {LOCALE_SOURCES}"


def _exfat() -> str:
    """A file system without hard links."""
    if exfat.missing():
        _install(*exfat.PACKAGES)
    return f"ready in {shutil.which('mount.exfat-fuse')}"


def _chromium() -> str:
    if chromium.find_programs() is None:
        _install(*chromium.PACKAGES)
    return f"ready in {chromium.find_programs()}"


def _spin() -> str:
    if checker.missing():
        _install(*checker.PACKAGES)
    return f"ready in {shutil.which('spin')}"


def _install(*packages: str) -> None:
    """Install packages of Debian."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise _CannotBeHadError(f"install the package `{' '.join(packages)}`, which takes root here")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-q"], quiet)
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], quiet)


def _fake_gcs_server() -> str:
    if not PROGRAM.exists():
        if not shutil.which("go"):
            raise _CannotBeHadError("it is built with Go (https://go.dev/dl), and there is no `go` here")
        FOLDER.mkdir(parents=True, exist_ok=True)
        _run(["go", "install", f"{MODULE}@{VERSION}"], {"GOBIN": str(FOLDER)})
    return f"ready in {FOLDER}"


def _restate() -> str:
    if restate.find_program() is None:
        if not shutil.which("npm"):
            raise _CannotBeHadError("it comes from npm (https://nodejs.org), and there is no `npm` here")
        restate.FOLDER.mkdir(parents=True, exist_ok=True)
        install = [
            "npm",
            "install",
            "--prefix",
            str(restate.FOLDER),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]
        _run([*install, f"{restate.PACKAGE}@{restate.VERSION}"], {})
    return f"ready in {restate.FOLDER}"


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise _CannotBeHadError(f"`{' '.join(command[:2])}` says: {said[-1] if said else 'nothing'}")


if __name__ == "__main__":
    main()
