"""Live runs as listed by the operator: Inngest has no list of all runs that can still read their results."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.integrations.inngest.scopes import ENGINE, run_scope
from coatcheck.retention.live import LiveRuns
from coatcheck.scope import Scope

_RUN_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
"""A ULID in upper case, as Inngest writes it. In lower case it would be another scope."""
_SHOWN: Final = 40


class ListedRuns(LiveRuns):
    """Runs from the operator's list. For one task.

    A run refers only to its own scope and the tenant's, so nothing else has to be known.

    Args:
        lines: A run ID each; read once, during the sweep. Empty lines are ignored.
        tenants: Tenants of the apps: ``claim_check(chain, tenant=...)``.
    """

    def __init__(self, lines: Iterable[str], tenants: Sequence[str]) -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._lines = lines

    async def scopes(self) -> AsyncIterator[Scope]:
        """See :meth:`LiveRuns.scopes`.

        Raises:
            ConfigError: A line is not a run ID; or there are no lines, which probably means that making the list failed.
            OSError: The lines cannot be read.
        """
        empty = True
        for number, line in enumerate(self._lines, 1):
            run = line.strip()
            if not run:
                continue
            if not _RUN_ID.fullmatch(run):
                raise ConfigError(
                    f"line {number} of the list is not a run ID: {run[:_SHOWN]!r}",
                    "Write one run ID per line, and nothing else.",
                )
            empty = False
            for tenant in self.tenants:
                yield run_scope(tenant, run)
        if empty:
            raise ConfigError(
                "the list of live runs is empty", "If no run is live, sweep by age (--older-than)."
            )
