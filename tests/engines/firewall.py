"""A firewall in front of a server: it can forget the connections that it let through, and tells nobody."""

import asyncio
import itertools

from tests.engines.fault_proxy import Proxy, closed, no_faults


class Firewall(Proxy):
    """Passes on what is said, until the connection is forgotten: from then on that goes nowhere, and stays open."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(upstream, no_faults, 0)
        self._numbers = itertools.count()
        self._known: set[int] = set()

    @property
    def known(self) -> int:
        """Number of connections that are let through now."""
        return len(self._known)

    def forget(self) -> None:
        """Forget the connections that there are; new ones are let through."""
        self._known.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See :meth:`Proxy.serve`."""
        number = next(self._numbers)
        self._known.add(number)
        from_server, to_server = await asyncio.open_connection(*self.upstream)

        async def passed(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                if number in self._known:
                    target.write(data)
                    await target.drain()

        directions = [
            asyncio.ensure_future(passed(*pair)) for pair in ((reader, to_server), (from_server, writer))
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._known.discard(number)
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            await closed(to_server)
            await closed(writer)
