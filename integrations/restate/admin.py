"""SQL on Restate's admin API, row by row."""

from collections.abc import AsyncIterator
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final, Self

import httpx

from coatcheck.errors import CoatcheckError, ConfigError, EngineError

_START: Final = '{"rows":['
_END: Final = "]}"
_MOST_OF_A_MESSAGE: Final = 1000
_LATER: Final = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}
"""Statuses that are worth another try, beside those of a server at fault."""
_CONNECT_SECONDS: Final = 30.0
_SILENT_SECONDS: Final = 900.0
"""Seconds for a query: one that finds nothing sends nothing until it has looked at everything."""


class Admin:
    """A server's admin API. Reads only; use it as a context manager, on one event loop.

    Args:
        url: URL of the API.
        token: Sent as bearer token, if given.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            timeout=httpx.Timeout(_CONNECT_SECONDS, read=_SILENT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def cluster(self) -> str:
        """Return the cluster's name; empty if the server does not say.

        Raises:
            EngineError: The server does not answer.
            ConfigError: The URL is not one.
        """
        try:
            answer = await self._http.get("/cluster-health", headers={"Accept": "application/json"})
            name = answer.json().get("cluster_name") if answer.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _silent(error) from None
        except (JSONDecodeError, AttributeError):
            name = None
        return name if isinstance(name, str) else ""

    async def rows(self, sql: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows of a query as they arrive; null columns are left out.

        Raises:
            EngineError: The server refuses the query, does not answer, or its answer does not come to its end.
            ConfigError: The URL is not one.
        """
        ask = self._http.stream("POST", "/query", json={"query": sql}, headers={"Accept": "application/json"})
        try:
            async with ask as answer:
                if not answer.is_success:
                    said = (await answer.aread()).decode(errors="replace")[:_MOST_OF_A_MESSAGE]
                    raise EngineError(
                        f"the Restate server says {answer.status_code}: {said}",
                        "Nothing was deleted. Check that this is the admin API of a server from 1.7 on, and its token.",
                        retryable=answer.is_server_error or answer.status_code in _LATER,
                    )
                async for row in rows_in(answer.aiter_text()):
                    yield row
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _silent(error) from None


def _silent(error: Exception) -> CoatcheckError:
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ConfigError(
            f"the URL of Restate's admin API is not one: {error}", "Write it as http://localhost:9070."
        )
    return EngineError(
        f"the admin API of Restate does not answer: {error or type(error).__name__}",
        "Nothing was deleted. Check its address, and run it again.",
    )


async def rows_in(pieces: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """Yield the rows in ``{"rows":[...]}``, with no more than one in memory.

    Raises:
        EngineError: The answer has another form, or ends too early.
    """
    decode = JSONDecoder().raw_decode
    text, begun = "", False
    async for piece in pieces:
        text += piece
        if not begun and text.startswith(_START):
            text, begun = text[len(_START) :], True
        if not begun or "}" not in piece:
            continue
        at = 0
        while True:
            try:
                row, end = decode(text, at + text.startswith(",", at))
            except JSONDecodeError:
                break
            yield row
            at = end
        text = text[at:]
    if not begun or text.strip() != _END:
        raise EngineError(
            "the answer of Restate's admin API is incomplete", "Nothing was deleted. Run it again."
        )
