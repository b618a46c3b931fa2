"""A real PostgreSQL on loopback, from Debian's package ``postgresql``."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGQUIT
from urllib.parse import quote

import pytest

from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

_ENGINE = "PostgreSQL"
_ATTEMPTS = 3
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "max_connections": "100",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where the server listens, and its superuser."""

    port: int
    password: str
    user: str = "coatcheck_admin"
    host: str = "127.0.0.1"

    def dsn(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """A connection URL; of the superuser unless another user is named."""
        who, secret = user or self.user, password or self.password
        return f"postgresql://{who}:{quote(secret)}@{self.host}:{self.port}/{database}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One cluster for the whole test run."""
    with serving() as server:
        yield server


def find_programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: the newest that Debian installed, or the one on the PATH."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda program: float(program.parts[-3])
    )
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


LOCALE_SOURCES = Path("/usr/share/i18n/locales")
"""From Debian's package ``locales``."""


@contextmanager
def serving_in(language: str) -> Iterator[PostgresServer]:
    """Run a cluster whose server speaks ``language``, such as ``de_DE``; skip or fail if it cannot be."""
    localedef = shutil.which("localedef")
    if localedef is None or not (LOCALE_SOURCES / language).exists():
        unavailable(_ENGINE, f"no locale {language} here; apt-get install locales")
    folder = Path(tempfile.mkdtemp(prefix="coatcheck-locales-"))
    folder.chmod(0o755)
    locale = f"{language}.UTF-8"
    try:
        make = [localedef, "--no-archive", "-i", language, "-f", "UTF-8", str(folder / locale)]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        with serving(locales=folder, lc_messages=locale) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(*, locales: Path | None = None, **settings: str) -> Iterator[PostgresServer]:
    """Run a cluster of its own, with ``settings`` on top of those for tests; skip or fail if it cannot be.

    Args:
        locales: A folder of compiled locales beside those of the machine.
        settings: The server's.
    """
    programs = find_programs()
    if programs is None:
        unavailable(_ENGINE, "no `initdb` here; apt-get install postgresql")
    # Not below pytest's folder: that one is closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="coatcheck-postgres-"))
    try:
        why = ""
        for _ in range(_ATTEMPTS):
            server = PostgresServer(free_port(), secrets.token_hex(16))
            try:
                with _cluster(programs, folder, server, settings, locales):
                    yield server
                    return
            except (NotUpError, OSError, subprocess.SubprocessError) as error:
                why = str(error)
                shutil.rmtree(folder / "data", ignore_errors=True)
        unavailable(_ENGINE, f"it does not come up: {why}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster(
    programs: Path, folder: Path, server: PostgresServer, settings: dict[str, str], locales: Path | None
) -> Iterator[None]:
    user = unprivileged_user()
    (folder / "password").write_text(server.password)
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    data = str(folder / "data")
    where = ["-D", data, "-U", server.user, "--pwfile", str(folder / "password")]
    how = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(
        [str(programs / "initdb"), *where, *how],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
        timeout=120,
    )
    chosen = {**_SETTINGS, "unix_socket_directories": str(folder), **settings}
    flags = [flag for name, value in chosen.items() for flag in ("-c", f"{name}={value}")]
    command = [str(programs / "postgres"), "-D", data, "-p", str(server.port), *flags]
    ready = [str(programs / "pg_isready"), "-q", "-h", server.host, "-p", str(server.port)]
    with running(
        command,
        folder / "postgres.log",
        up=lambda: subprocess.run(ready, check=False, timeout=10).returncode == 0,
        stop=SIGQUIT,
        user=user,
        environment=None if locales is None else {**os.environ, "LOCPATH": str(locales)},
    ):
        yield


def unprivileged_user() -> str | None:
    """Whom to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
