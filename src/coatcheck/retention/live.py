"""Who knows which scopes are still needed."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from coatcheck.retention.addresses import Addresses
from coatcheck.scope import Scope


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
    def scopes(self) -> AsyncIterator[Scope]:
        """Every such scope. A scope may come several times. Errors as above."""

    async def prefixes(self, addresses: Addresses) -> AsyncIterator[str]:
        """See :meth:`LiveScopes.prefixes`."""
        async for scope in self.scopes():
            for prefix in await addresses.of(scope):
                yield prefix
