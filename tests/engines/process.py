"""Starting and ending the servers of tests."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from signal import SIGTERM, Signals

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05


class NotUpError(Exception):
    """The server ended or said nothing for too long; the last line of its log tells why."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    up: Callable[[], bool],
    stop: Signals = SIGTERM,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from when ``up`` says so until the block ends, then stop it by its pid.

    Raises:
        NotUpError: It did not come up within a minute.
    """
    # A test run that is killed cannot stop its server; the kernel can.
    tied = ["setpriv", "--pdeathsig", "KILL"] if which("setpriv") else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*tied, *command], stdout=output, stderr=output, user=user, env=environment, cwd=log.parent
        )
    try:
        _await(process, up, log)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def _await(process: subprocess.Popen[bytes], up: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if up():
            return
        time.sleep(_POLL_SECONDS)
    said = log.read_text(errors="replace").splitlines()
    raise NotUpError(said[-1] if said else "it says nothing")
