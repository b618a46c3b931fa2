"""A web application that used its store before gunicorn forked its workers: ``gunicorn --preload``."""

import asyncio
import faulthandler
import os
from collections.abc import Callable, Iterable

from coatcheck.settings.registry import open_store

_PATIENCE = 25.0
"""Seconds: more than any request to the store may take."""

store = open_store(os.environ["FORK_STORE"])


async def _use(key: str) -> bytes:
    await store.replace(key, key.encode())
    return await store.get("before-the-fork") + await store.get(key)


async def _prepare() -> None:
    await store.replace("before-the-fork", b"parent ")


asyncio.run(_prepare())


def application(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Write and read in the worker; where that hangs, the log tells at what."""
    faulthandler.dump_traceback_later(_PATIENCE, exit=True)
    body = asyncio.run(_use(f"worker-{os.getpid()}"))
    faulthandler.cancel_dump_traceback_later()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
