"""Serving apps to the server from this process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Literal

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.engines.process import free_port
from tests.engines.restate import RestateServer

Protocol = Literal["bidi", "request_response"]
MODES: tuple[Protocol, ...] = ("bidi", "request_response")
_PATIENCE = 60.0
"""Seconds: a new process on a busy machine takes a while to begin."""


@asynccontextmanager
async def hosting(server: RestateServer, app: Any, protocol: Protocol = "bidi") -> AsyncIterator[None]:
    """Serve ``app``, and make it known to the server, which talks HTTP/2 or HTTP/1.1 with it.

    It is served until the process ends: what a test has sent may still be on its way when the test is over.
    """
    port = free_port()
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    asyncio.run_coroutine_threadsafe(serve(app, config, shutdown_trigger=asyncio.Event().wait), _loop())
    await listening(port)
    await server.register(f"http://127.0.0.1:{port}", http1=protocol == "request_response")
    yield


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop on which all apps are served."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="apps", daemon=True).start()
    return loop


async def listening(port: int) -> None:
    """Wait until somebody listens there."""

    async def answered() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    await until(answered)


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what somebody else does, and tells nobody; a :class:`TimeoutError` after a minute."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)
