"""Which runs are live, as their operator says: Inngest has no list of all that can still read their results."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.integrations.inngest.scopes import ENGINE, run_scope
from coatcheck.retention.live import LiveRuns
from coatcheck.scope import Scope

_RUN_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
"""A ULID, in the letters that Inngest writes. In others it would be another scope."""
_SHOWN: Final = 40


class ListedRuns(LiveRuns):
    """Runs that somebody has listed. For one task.

    What a run refers to is in its own scope or in that of the tenant, so nothing else has to be known.

    Args:
        lines: A run ID each; read once, while the sweep asks. Empty ones are left out.
        tenants: Those of the apps: ``claim_check(chain, tenant=...)``.
    """

    def __init__(self, lines: Iterable[str], tenants: Sequence[str]) -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._lines = lines

    async def scopes(self) -> AsyncIterator[Scope]:
        """See :meth:`LiveRuns.scopes`.

        Raises:
            ConfigError: A line is no run ID, or there is no line: then whoever wrote the list has probably failed.
            OSError: The lines cannot be read.
        """
        empty = True
        for number, line in enumerate(self._lines, 1):
            run = line.strip()
            if not run:
                continue
            if not _RUN_ID.fullmatch(run):
                raise ConfigError(
                    f"line {number} of the list is no run ID: {run[:_SHOWN]!r}",
                    "Give one a line, and nothing else.",
                )
            empty = False
            for tenant in self.tenants:
                yield run_scope(tenant, run)
        if empty:
            raise ConfigError(
                "the list of live runs is empty", "If none is live, sweep by age (--older-than)."
            )
