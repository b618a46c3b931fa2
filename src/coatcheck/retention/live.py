"""Who knows which scopes are still needed."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import NewType

from coatcheck.scope import Scope

RunTag = NewType("RunTag", bytes)
"""16 bytes of a reference that stand for the run, and tell nobody which one it is."""


class LiveRuns(ABC):
    """What a sweep asks an engine."""

    tenants: tuple[str, ...]
    """Whose scopes it can tell about. Those of no other tenant are looked at."""

    @abstractmethod
    def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """Every scope that something in the engine can still reach. A scope may come several times.

        That is: those of runs that go on, of closed ones that are retained, and those that either refer to, by name or
        by the run tag in the reference. Any error ends the sweep before it has deleted anything, so nothing may be left
        out silently.
        """
