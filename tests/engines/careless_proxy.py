"""A proxy on loopback that loses the conditions of writes, as gateways do that speak a protocol in part."""

import asyncio
from dataclasses import replace

from tests.engines.fault_proxy import Fault, FaultProxy, Request, _Upstream

_CONDITIONS = ("ifGenerationMatch=0&", "&ifGenerationMatch=0", "if-none-match: *\r\n", "If-None-Match: *\r\n")


class CarelessProxy(FaultProxy):
    """Passes requests on without ``If-None-Match`` (S3) and ``ifGenerationMatch`` (GCS)."""

    async def _answer(
        self,
        request: Request,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: _Upstream,
    ) -> bool:
        head = request.head.decode("latin-1")
        for condition in _CONDITIONS:
            head = head.replace(condition, "")
        return await super()._answer(
            replace(request, head=head.encode("latin-1")), fault, reader, writer, server
        )
