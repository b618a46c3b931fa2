"""The interface of an engine that knows which scopes are live."""

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
"""The start of every reference."""
TEXT_MARK: Final = base64.urlsafe_b64encode(MARK)
"""The start of every reference as text: six bytes are eight characters."""

_PREFIX_LENGTH: Final = len(MARK) + 1 + KEY_ID_LENGTH + TAG_LENGTH
_TEXT_LENGTH: Final = _PREFIX_LENGTH * 4 // 3
# With a lookahead, matches may overlap: a reference is found even inside bytes that only look like one.
_PREFIX: Final = re.compile(b"(?=(%b.{%d}))" % (re.escape(MARK), _PREFIX_LENGTH - len(MARK)), re.DOTALL)
_TEXT: Final = re.compile(
    b"(?=(%b[A-Za-z0-9_-]{%d}))" % (re.escape(TEXT_MARK), _TEXT_LENGTH - len(TEXT_MARK))
)

RunTag = NewType("RunTag", bytes)
"""16 bytes of a reference that stand for the run, and do not reveal which one it is."""


@dataclass(frozen=True, slots=True)
class Series:
    """All runs that the engine starts repeatedly from one thing, such as a Temporal schedule."""

    tenant: str
    name: str
    """The series, as in :class:`~coatcheck.scope.Scope`."""


class Origin(NamedTuple):
    """The cluster and namespace of a tenant's runs, by IDs that no others have. Empty if the engine does not tell them."""

    cluster: str = ""
    namespace: str = ""


class LiveScopes(ABC):
    """The live scopes of an engine, for a sweep."""

    @abstractmethod
    def prefixes(self, prefixes: ScopePrefixes) -> AsyncIterator[str]:
        """Yield the prefixes of all scopes that the engine can still reach; some may come twice.

        These are the scopes of open runs, of closed runs that are retained, and those that either refer to. A prefix can be
        that of a scope, with a slash at the end, or that of all scopes of a series.

        Raise an error rather than leave anything out: any error ends the sweep before it deletes.

        Args:
            prefixes: Finds the prefixes of a scope.
        """


class LiveRuns(LiveScopes):
    """Live scopes from the engine itself."""

    engine: str
    """Its name in scopes (:class:`~coatcheck.scope.Scope`). Only scopes of this engine are swept."""
    tenants: tuple[str, ...]
    """The tenants that the engine knows. Only their scopes are swept."""

    @abstractmethod
    def scopes(self) -> AsyncIterator[Scope | RunTag | Series]:
        """Yield all live scopes: by name, by the run tag in a reference, or as a whole series.

        A scope may come several times. Raise an error rather than leave anything out, as in :meth:`LiveScopes.prefixes`.
        """

    async def origins(self) -> Mapping[str, Origin]:
        """Ask the engine for the origin of each tenant's runs.

        Raises:
            CoatcheckError: The engine does not answer, or does not have one of the tenants.
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
    """Yield the run tag of every reference anywhere in ``data``, binary or text.

    Bytes that only begin like a reference yield one as well: it is safe to keep too much.
    """
    for found in _PREFIX.finditer(data):
        yield RunTag(found[1][-TAG_LENGTH:])
    for found in _TEXT.finditer(data):
        yield RunTag(base64.urlsafe_b64decode(found[1])[-TAG_LENGTH:])
