"""A proxy that answers some requests itself, as pages to sign in at, firewalls and broken gateways do."""

import asyncio
from collections.abc import Callable

from tests.engines.fault_proxy import Fault, FaultProxy, Request, _Upstream

Says = Callable[[Request], bytes | None]


def page(status: int, body: str = "", **headers: str) -> bytes:
    """An answer, whole."""
    lines = [
        f"HTTP/1.1 {status} Answer",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join([*lines, "", ""]) + body).encode()


class Portal(FaultProxy):
    """Stands in front of a server, and answers in its place what ``says`` has an answer for."""

    def __init__(self, upstream: str, says: Says) -> None:
        super().__init__(upstream)
        self._says = says

    async def _answer(
        self,
        request: Request,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: _Upstream,
    ) -> bool:
        said = self._says(request)
        if said is None:
            return await super()._answer(request, fault, reader, writer, server)
        writer.write(said)
        await writer.drain()
        return True
