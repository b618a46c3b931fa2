"""Who knows which scopes are still needed."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import NewType

from coatcheck.retention.addresses import Addresses
from coatcheck.scope import Scope

RunTag = NewType("RunTag", bytes)
"""16 bytes of a reference that stand for the run, and tell nobody which one it is."""


class LiveScopes(ABC):
    """What a sweep has to know of an engine."""

    @abstractmethod
    def prefixes(self, addresses: Addresses) -> AsyncIterator[str]:
        """What the keys of every scope begin with that something in the engine can still reach; some may come twice.

        That is: those of runs that go on, of closed ones that are retained, and those that either refer to. Any error
        ends the sweep before it has deleted anything, so nothing may be left out silently.
        """


class LiveRuns(LiveScopes):
    """An engine that is asked."""

    tenants: tuple[str, ...]
    """Whose scopes it can tell about. Those of no other tenant are looked at."""

    @abstractmethod
    def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """Every such scope, by name or by the run tag in a reference. A scope may come several times. Errors as above."""

    async def prefixes(self, addresses: Addresses) -> AsyncIterator[str]:
        """See :meth:`LiveScopes.prefixes`."""
        tenants = [prefix for tenant in self.tenants for prefix in await addresses.of_tenant(tenant)]
        async for found in self.scopes():
            if isinstance(found, Scope):
                for prefix in await addresses.of(found):
                    yield prefix
            else:
                for tenant in tenants:
                    yield f"{tenant}{found.hex()}/"
