"""An Inngest server on loopback: the real dev server if there is an ``inngest`` program, else its executor's protocol.

Nothing here installs the dev server: the npm package ``inngest-cli`` fetches its program from elsewhere, and the Go module
could not be had when this was written. Where one is on the PATH, or ``INNGEST_CLI`` names it, the tests run against that.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest
import uvicorn

from tests.engines.inngest_executor import Executor
from tests.engines.process import free_port, running

_RUN_SECONDS = 60.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class InngestServer:
    """Where the server listens."""

    port: int
    executor: Executor | None = None
    """None if it is the real dev server."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def runs_of(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The runs that an event triggered, when at least ``count`` of them have ended, each with a result."""
        return await self._until(
            f"/v1/events/{event}/runs",
            lambda runs: len(runs) >= count and all(map(_is_over, runs)),
        )

    async def started_by(self, event: str) -> str:
        """The ID of the run that an event triggered, as soon as there is one."""
        [run, *_] = await self._until(f"/v1/events/{event}/runs", bool)
        return str(run["run_id"])

    async def cancel(self, run: str) -> None:
        async with httpx.AsyncClient() as client:
            (await client.delete(f"{self.url}/v1/runs/{run}")).raise_for_status()

    async def _until(self, path: str, enough: Callable[[list[Any]], bool]) -> list[dict[str, Any]]:
        found: list[Any] = []
        until = time.monotonic() + _RUN_SECONDS
        async with httpx.AsyncClient(timeout=_RUN_SECONDS) as client:
            while time.monotonic() < until:
                found = (await client.get(self.url + path)).json().get("data") or []
                if enough(found):
                    return list(found)
                await asyncio.sleep(_POLL_SECONDS)
        raise TimeoutError(f"{path} comes to no more than {found}")


@pytest.fixture(scope="session")
def inngest_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InngestServer]:
    """One server for the whole test run; its runs are in memory."""
    with serving(tmp_path_factory.mktemp("inngest")) as server:
        yield server


@contextmanager
def serving(folder: Path) -> Iterator[InngestServer]:
    """Run a server of its own, its log in ``folder``."""
    program = os.environ.get("INNGEST_CLI") or which("inngest")
    if program is None:
        executor = Executor()
        with serving_asgi(executor.app()) as port:
            yield InngestServer(port, executor)
        return
    server = InngestServer(free_port())
    with running(
        _command(program, server.port),
        folder / "inngest.log",
        up=lambda: _answers(server.url),
        environment={**os.environ, "DO_NOT_TRACK": "1", "HOME": str(folder)},
    ):
        yield server


@contextmanager
def serving_asgi(app: Any, port: int = 0) -> Iterator[int]:
    """Serve an ASGI app in a thread of this process; gives its port."""
    config = uvicorn.Config(app, port=port, log_level="warning", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="serving_asgi", daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "it does not come up"
            time.sleep(_POLL_SECONDS)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def _is_over(run: dict[str, Any]) -> bool:
    """The dev server shows what a run came to a little later than that it did."""
    return run["status"] in ("Failed", "Cancelled") or (run["status"] == "Completed" and "output" in run)


def _command(program: str, port: int) -> list[str]:
    ports = [free_port() for _ in range(3)]
    return [
        *(program, "dev", "--host", "127.0.0.1", "--port", str(port), "--no-discovery", "--no-poll"),
        *("--tick", "10", "--retry-interval", "1", "--log-level", "warn"),
        *("--connect-gateway-port", str(ports[0]), "--connect-gateway-grpc-port", str(ports[1])),
        *("--connect-executor-grpc-port", str(ports[2])),
    ]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/dev").is_success
    except httpx.TransportError:
        return False
