"""A real PgBouncer on loopback, from Debian's package ``pgbouncer``."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGINT
from typing import Final

from tests.engines.postgres import PostgresServer, find_programs, unprivileged_user
from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

PACKAGE: Final = "pgbouncer"
_ENGINE: Final = "PgBouncer"


def find_program() -> str | None:
    """The program; Debian keeps it where only root has it on the PATH."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def version() -> tuple[int, ...]:
    """The version of the program; empty if there is none."""
    program = find_program()
    if program is None:
        return ()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[1].split("."))


@contextmanager
def pooling(server: PostgresServer, *users: PostgresServer, **settings: str) -> Iterator[PostgresServer]:
    """Run a pooler of transactions in front of ``server``; skip or fail if it cannot be had.

    Args:
        server: Where it connects to; its user may log in.
        users: Others who may log in, with the passwords that they have here.
        settings: Those of PgBouncer, on top of the ones for tests.
    """
    program, programs = find_program(), find_programs()
    if program is None or programs is None:
        unavailable(_ENGINE, f"apt-get install {PACKAGE} postgresql")
    folder = Path(tempfile.mkdtemp(prefix="coatcheck-pgbouncer-"))
    pooler = replace(server, port=free_port())
    chosen = {
        "listen_addr": pooler.host,
        "listen_port": str(pooler.port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(folder / "users"),
        "pool_mode": "transaction",
        **settings,
    }
    (folder / "users").write_text("".join(f'"{one.user}" "{one.password}"\n' for one in (server, *users)))
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npostgres = host={server.host} port={server.port}\n"
        "[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in chosen.items())
    )
    user = unprivileged_user()
    if user is not None:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
    ready = [str(programs / "pg_isready"), "-q", "-h", pooler.host, "-p", str(pooler.port)]
    try:
        with running(
            [program, str(folder / "pgbouncer.ini")],
            folder / "pgbouncer.log",
            up=lambda: subprocess.run(ready, check=False, timeout=10).returncode == 0,
            stop=SIGINT,
            user=user,
        ):
            yield pooler
    except NotUpError as error:
        unavailable(_ENGINE, f"it does not come up: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
