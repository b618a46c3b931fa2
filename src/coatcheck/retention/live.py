"""Who knows which scopes are still needed."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NewType

from coatcheck.retention.addresses import Addresses
from coatcheck.scope import Scope

RunTag = NewType("RunTag", bytes)
"""16 bytes of a reference that stand for the run, and tell nobody which one it is."""


@dataclass(frozen=True, slots=True)
class Series:
    """All runs that the engine starts again and again from one thing, such as a Temporal schedule."""

    tenant: str
    name: str
    """As in :class:`~coatcheck.scope.Scope`."""


class Origin(NamedTuple):
    """The place of a tenant's runs: IDs of one cluster and namespace only. Empty where the engine tells none."""

    cluster: str = ""
    namespace: str = ""


class LiveScopes(ABC):
    """What a sweep has to know of an engine."""

    @abstractmethod
    def prefixes(self, addresses: Addresses) -> AsyncIterator[str]:
        """What the keys of every scope begin with that something in the engine can still reach; some may come twice.

        A prefix can be that of a scope, with a slash at the end, or that of all scopes of a series.

        That is: those of runs that go on, of closed ones that are retained, and those that either refer to. Any error
        ends the sweep before it has deleted anything, so nothing may be left out silently.
        """


class LiveRuns(LiveScopes):
    """An engine that is asked."""

    engine: str
    """Its name in scopes (:class:`~coatcheck.scope.Scope`). It tells about no other engine's."""
    tenants: tuple[str, ...]
    """Whose scopes it can tell about. Those of no other tenant are looked at."""

    @abstractmethod
    def scopes(self) -> AsyncIterator[Scope | RunTag | Series]:
        """Every such scope, by name, by the run tag in a reference, or with all others of its series.

        A scope may come several times. Errors as above.
        """

    async def origins(self) -> Mapping[str, Origin]:
        """Return where the runs of each tenant are, by asking the engine: it is there, and has these tenants.

        Raises:
            CoatcheckError: It is not, or has not.
        """
        return {tenant: Origin() for tenant in self.tenants}

    async def prefixes(self, addresses: Addresses) -> AsyncIterator[str]:
        """See :meth:`LiveScopes.prefixes`."""
        tenants = [prefix for tenant in self.tenants for prefix in await addresses.of_tenant(tenant)]
        async for found in self.scopes():
            if isinstance(found, Scope):
                for prefix in await addresses.of(found):
                    yield prefix
            elif isinstance(found, Series):
                for prefix in await addresses.of_series(found.tenant, found.name, self.engine):
                    yield prefix
            else:
                for tenant in tenants:
                    yield f"{tenant}{found.hex()}/"
