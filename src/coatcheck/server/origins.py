"""The pages that may ask: those that are not listed neither read answers nor cause anything."""

import logging
import secrets
from collections.abc import Callable, Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from coatcheck.server.refusals import Answer
from coatcheck.server.responses import refusal_response
from coatcheck.server.seldom import Seldom

_log = logging.getLogger("coatcheck.server")

_SHOWN: Final = 200
"""Characters of an origin that are logged."""


class OriginGuard:
    """Refuses whatever a page asks that is not listed: browsers name the page with every POST and every preflight.

    CORS alone would keep it from reading the answer, not from causing something, nor from having its own name point here.
    Each refused origin is logged once a minute.

    Args:
        app: Answers the others.
        origins: The pages that are listed, exactly as browsers name them.
        refused: Called with each refused request.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], refused: Callable[[], None]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._refused = refused
        self._seldom = Seldom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by Starlette."""
        strangers = {*_origins(scope)} - self._origins
        if not strangers:
            await self._app(scope, receive, send)
            return
        self._refused()
        for origin in strangers:
            shown = repr(origin[:_SHOWN])
            if self._seldom.is_due(shown):
                _log.warning("refused a page of the origin %s: serve.origins does not list it", shown)
        await refusal_response(Answer.FORBIDDEN, secrets.token_hex(8))(scope, receive, send)


def _origins(scope: Scope) -> list[str]:
    return Headers(scope=scope).getlist("origin") if scope["type"] == "http" else []
