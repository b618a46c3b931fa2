"""A real server of Google Cloud Storage's JSON API on loopback: fake-gcs-server, built from its Go module."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]

from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

MODULE = "github.com/fsouza/fake-gcs-server"
VERSION = "v1.56.1"
FOLDER = Path(__file__).parents[2] / ".cache" / "engines" / f"fake-gcs-server-{VERSION}"
PROGRAM = FOLDER / "fake-gcs-server"

_ENGINE = "GCS (fake-gcs-server)"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class GCSServer:
    """Where the server listens. It knows no credentials: everyone may do everything."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """One server for the whole test run; its objects are in memory."""
    with serving(tmp_path_factory.mktemp("fake-gcs-server")) as server:
        yield server


@pytest.fixture
def gcs_bucket(gcs_server: GCSServer) -> str:
    """The name of a bucket of its own."""
    client = storage.Client(
        project="tests",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": gcs_server.endpoint},
    )
    name = f"bucket-{uuid4().hex}"
    client.create_bucket(name)
    client.close()
    return name


@contextmanager
def serving(folder: Path) -> Iterator[GCSServer]:
    """Run a server of its own, its log in ``folder``; skip or fail, as the requirement says, if it cannot be."""
    if not PROGRAM.exists():
        unavailable(_ENGINE, "it is not built; python -m tests.engines.install")
    why = ""
    for _ in range(_ATTEMPTS):
        server = GCSServer(free_port())
        try:
            with running(_command(server), folder / "server.log", up=lambda: _answers(server.port)):  # noqa: B023
                yield server
                return
        except NotUpError as error:
            why = str(error)
    unavailable(_ENGINE, f"it does not come up: {why}")


def _command(server: GCSServer) -> list[str]:
    return [
        *(str(PROGRAM), "-scheme", "http", "-host", "127.0.0.1", "-port", str(server.port)),
        *("-backend", "memory", "-log-level", "warn"),
        # What it writes into the addresses that it hands out, for uploads and pages.
        *("-external-url", server.endpoint, "-public-host", f"127.0.0.1:{server.port}"),
    ]


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/_internal/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
