"""Options of a sweep workflow, and the names of its activities."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.retention.rules import RetentionRules
from coatcheck.retention.sweep import DEFAULT_MAX_SHARE

TASK_QUEUE: Final = "coatcheck-sweep"
"""Default task queue of :func:`create_schedule`."""
ASK: Final = "coatcheck-sweep-ask"
LOOK: Final = "coatcheck-sweep-look"
ACT: Final = "coatcheck-sweep-act"
FORGET: Final = "coatcheck-sweep-forget"

_MOST_DIGITS: Final = 2
"""Each digit makes the history 16 times as long: two come to about 3,000 events."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Options of a sweep. With the defaults it is a dry run.

    Raises:
        ConfigError: The grace is too short to be safe, or there is no namespace, or too many partitions.
    """

    namespaces: list[str]
    """See :class:`~coatcheck.integrations.temporal.live_runs.TemporalRuns`, as for the next two."""
    archived: bool = False
    callers_listed: bool = False
    delete: bool = False
    """True to mark and delete."""
    grace_days: int = 7
    """Time between the mark and the deletion."""
    max_share: float = DEFAULT_MAX_SHARE
    """Share of all objects in all partitions together, 0 to 1: if more would be deleted, nothing is done."""
    moved: bool = False
    """True if the namespaces may be in another cluster than at earlier sweeps, or new ones of the same names."""
    no_runs: list[str] = field(default_factory=list)
    """Namespaces that are meant to have no runs, or were deleted for good: all their payloads are freed."""
    digits: int = 1
    """Hexadecimal digits of a scope's tag that make the partitions: 16 with one, 256 with two, a single one with none."""
    at_once: int = 4
    """Most partitions swept at once."""

    def __post_init__(self) -> None:
        if not self.namespaces:
            raise ConfigError("there is no namespace to sweep", "Name at least one.")
        if not 0 <= self.digits <= _MOST_DIGITS or self.at_once < 1:
            raise ConfigError(
                f"partitions by {self.digits} digits, {self.at_once} at once, are out of range",
                f"Use 0 to {_MOST_DIGITS} digits, and at least one partition at once.",
            )
        self.rules()

    def rules(self) -> RetentionRules:
        """Return the rules of the sweep, with its times to wait."""
        grace = timedelta(days=self.grace_days)
        return RetentionRules(grace=grace, idle=grace)


@dataclass(frozen=True, slots=True)
class Part:
    """Input of an activity: one partition."""

    options: SweepOptions
    sweep: str
    """Name of the sweep."""
    begun: datetime
    """Time by the store's clock, before the engine was asked."""
    digits: str
    """Prefix of the tags of the partition's scopes."""
