"""The HTTP server of the application."""

import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.applications import Starlette

from coatcheck.errors import ConfigError
from coatcheck.server.connections import Connection
from coatcheck.server.limits import BACKLOG
from coatcheck.settings.serve import ServeSettings, is_loopback

_GRACE: Final = 10
"""Seconds for which requests may continue at shutdown."""


def bind(settings: ServeSettings, *, insecure: bool = False) -> socket.socket:
    """Open a socket on the host and port of the settings.

    Args:
        settings: The address, and whether tokens are required.
        insecure: Listen beyond loopback although no tokens are required.

    Raises:
        ConfigError: The address is not available; or it is beyond loopback, without ``jwt`` and without ``insecure``.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if settings.jwt is None and not insecure and not is_loopback(str(address[0])):
            raise ConfigError(
                f"{settings.host} can be reached from other machines, but no tokens are required",
                "Set [serve.jwt], or listen on 127.0.0.1. --insecure-no-auth lets everybody read everything.",
            )
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}", "Choose another address."
        ) from error
    return listener


def listen(
    app: Starlette, settings: ServeSettings, listener: socket.socket, started: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then wait up to ten seconds for requests to end. Call it in the main thread.

    Args:
        app: The application from :func:`~coatcheck.server.app.create_app`.
        settings: The settings of the application.
        listener: The socket from :func:`bind`; it is closed at the end.
        started: Called with the URL as soon as connections are accepted.
    """
    # uvicorn raises the signal again when it is done: then nothing is left to do.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with listener:
        HttpServer(app, settings, lambda: started(url_of(listener))).run([listener])


def url_of(listener: socket.socket) -> str:
    """Return the URL of a server on this socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer(uvicorn.Server):
    """A uvicorn server that reports when it accepts connections.

    Args:
        app: The application from :func:`~coatcheck.server.app.create_app`.
        settings: The settings of the application.
        started: Called as soon as connections are accepted.
    """

    def __init__(self, app: Starlette, settings: ServeSettings, started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            # uvicorn's log has query strings; the application's own log says more and has none.
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            http=Connection,
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=settings.idle_timeout,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call ``started``. uvicorn calls it."""
        await super().startup(sockets)
        if self.started:
            self._say_started()
