"""A real Restate server on loopback, from the npm package ``@restatedev/restate-server``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest

from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

PACKAGE = "@restatedev/restate-server"
VERSION = "1.7.12"
FOLDER = Path(__file__).parents[2] / ".cache" / "engines" / f"restate-server-{VERSION}"

_ENGINE = "Restate"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class RestateServer:
    """Where the server listens."""

    ingress_port: int
    admin_port: int
    node_port: int

    @property
    def ingress(self) -> str:
        """Where callers call."""
        return f"http://127.0.0.1:{self.ingress_port}"

    @property
    def admin(self) -> str:
        """Where deployments are registered, and SQL is asked."""
        return f"http://127.0.0.1:{self.admin_port}"

    async def register(self, uri: str, *, http1: bool = False) -> None:
        """Make the services at ``uri`` known; those of the same names go there from now on."""
        async with httpx.AsyncClient() as client:
            body = {"uri": uri, "force": True, "use_http_11": http1}
            answer = await client.post(f"{self.admin}/deployments", json=body, timeout=30)
            answer.raise_for_status()

    async def query(self, sql: str) -> list[dict[str, object]]:
        """The rows that the server's SQL gives."""
        async with httpx.AsyncClient() as client:
            headers = {"accept": "application/json"}
            answer = await client.post(
                f"{self.admin}/query", json={"query": sql}, headers=headers, timeout=30
            )
            answer.raise_for_status()
            rows: list[dict[str, object]] = answer.json()["rows"]
            return rows


@pytest.fixture(scope="session")
def restate_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestateServer]:
    """One server for the whole test run."""
    with serving(tmp_path_factory.mktemp("restate")) as server:
        yield server


@contextmanager
def serving(folder: Path) -> Iterator[RestateServer]:
    """Run a server of its own with its files in ``folder``; skip or fail, as the requirement says, if it cannot be."""
    why = ""
    for _ in range(_ATTEMPTS):
        server = RestateServer(free_port(), free_port(), free_port())
        try:
            with started(server, folder):
                yield server
                return
        except NotUpError as error:
            why = str(error)
    unavailable(_ENGINE, f"it does not come up: {why}")


@contextmanager
def started(server: RestateServer, folder: Path) -> Iterator[None]:
    """Run the server at these ports, with what is in ``folder``, until the block ends; then it is killed.

    Raises:
        NotUpError: As :func:`running`.
    """
    program = find_program()
    if program is None:
        unavailable(_ENGINE, "it is not installed; python -m tests.engines.install")
    command = [str(program), "--base-dir", str(folder / "data"), "--node-name", "n1"]
    environment = {
        **os.environ,
        "DO_NOT_TRACK": "1",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{server.admin_port}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{server.node_port}",
        "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{server.ingress_port}",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_LOG_FILTER": "warn",
    }
    with running(
        command,
        folder / "server.log",
        up=lambda: (
            _answers(server.admin_port, "/health") and _answers(server.ingress_port, "/restate/health")
        ),
        stop=SIGKILL,
        environment=environment,
    ):
        yield


def find_program() -> Path | None:
    """The server itself: npm puts the one for this machine beside the package."""
    return next(FOLDER.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
