"""The check of a page's origin: pages that are not listed can neither read answers nor cause any action."""

import logging
import secrets
from collections.abc import Callable, Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from coatcheck.server.refusals import Refusal, Refused
from coatcheck.server.responses import refusal_response
from coatcheck.server.seldom import Seldom

_log = logging.getLogger("coatcheck.server")

_SHOWN: Final = 200
"""Most characters of an origin in the log."""


class OriginGuard:
    """A middleware that refuses pages that are not listed: browsers send the origin with every POST and every preflight.

    CORS alone would prevent such a page from reading the answer, but not from causing an action, nor from pointing its own
    host name here. Each refused origin is logged once a minute.

    Args:
        app: The application that answers all other requests.
        origins: The listed origins, exactly as browsers send them.
        refused: Called for each refused request.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], refused: Callable[[], None]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._refused = refused
        self._seldom = Seldom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application."""
        strangers = {*_origins(scope)} - self._origins
        if not strangers:
            await self._app(scope, receive, send)
            return
        self._refused()
        for origin in strangers:
            shown = repr(origin[:_SHOWN])
            if self._seldom.is_due(shown):
                _log.warning("refused a request from origin %s: serve.origins does not list it", shown)
        refused = Refused(Refusal.FORBIDDEN, "the page is not in serve.origins")
        await refusal_response(refused, secrets.token_hex(8))(scope, receive, send)


def _origins(scope: Scope) -> list[str]:
    return Headers(scope=scope).getlist("origin") if scope["type"] == "http" else []
