"""Who knows which scopes are still needed."""

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType

from coatcheck.format.wire import KEY_ID_LENGTH, MAGIC, REFERENCE, TAG_LENGTH, VERSION
from coatcheck.scope import Scope
from coatcheck.storage.prefixes import ScopePrefixes

MARK: Final = MAGIC + bytes((VERSION, REFERENCE))
"""Every reference begins so."""
TEXT_MARK: Final = base64.urlsafe_b64encode(MARK)
"""Every text of a reference begins so: six bytes are eight characters."""

_PREFIX_LENGTH: Final = len(MARK) + 1 + KEY_ID_LENGTH + TAG_LENGTH
_TEXT_LENGTH: Final = _PREFIX_LENGTH * 4 // 3
# What stands in a lookahead is found wherever it begins, also within what only looked like a reference.
_PREFIX: Final = re.compile(b"(?=(%b.{%d}))" % (re.escape(MARK), _PREFIX_LENGTH - len(MARK)), re.DOTALL)
_TEXT: Final = re.compile(
    b"(?=(%b[A-Za-z0-9_-]{%d}))" % (re.escape(TEXT_MARK), _TEXT_LENGTH - len(TEXT_MARK))
)

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
    def prefixes(self, prefixes: ScopePrefixes) -> AsyncIterator[str]:
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

    async def prefixes(self, prefixes: ScopePrefixes) -> AsyncIterator[str]:
        """See :meth:`LiveScopes.prefixes`."""
        tenants = [prefix for tenant in self.tenants for prefix in await prefixes.of_tenant(tenant)]
        async for found in self.scopes():
            if isinstance(found, Scope):
                for prefix in await prefixes.of(found):
                    yield prefix
            elif isinstance(found, Series):
                for prefix in await prefixes.of_series(found.tenant, found.name, self.engine):
                    yield prefix
            else:
                for tenant in tenants:
                    yield f"{tenant}{found.hex()}/"


def run_tags_in(data: bytes) -> Iterator[RunTag]:
    """The run tag of every reference that stands anywhere in ``data``, in either form.

    Bytes that only begin like a reference give one as well: to keep too much is the safe side.
    """
    for found in _PREFIX.finditer(data):
        yield RunTag(found[1][-TAG_LENGTH:])
    for found in _TEXT.finditer(data):
        yield RunTag(base64.urlsafe_b64decode(found[1])[-TAG_LENGTH:])
