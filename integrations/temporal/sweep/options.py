"""What a sweep workflow is given, and what its activities are called."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.retention.rules import RetentionRules
from coatcheck.retention.sweep import DEFAULT_MAX_SHARE

TASK_QUEUE: Final = "coatcheck-sweep"
"""The one that :func:`create_schedule` takes if it is told no other."""
ASK: Final = "coatcheck-sweep-ask"
LOOK: Final = "coatcheck-sweep-look"
ACT: Final = "coatcheck-sweep-act"
FORGET: Final = "coatcheck-sweep-forget"

_MOST_DIGITS: Final = 2
"""Each digit makes the history 16 times as long: two come to about 3,000 events."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How to sweep. The defaults change nothing: they say what would be done.

    Raises:
        ConfigError: The grace is too short to be safe, or there is no namespace, or too many partitions.
    """

    namespaces: list[str]
    """See :class:`~coatcheck.integrations.temporal.live_runs.TemporalRuns`, as for the next two."""
    archived: bool = False
    callers_listed: bool = False
    delete: bool = False
    """Mark and delete."""
    grace_days: int = 7
    """Between the two looks."""
    max_share: float = DEFAULT_MAX_SHARE
    """Share of all objects in all partitions together, 0 to 1: if more is on its way out, nothing is done."""
    moved: bool = False
    """The namespaces may be in another cluster, or others of the same names, than the store was swept for before."""
    no_runs: list[str] = field(default_factory=list)
    """Namespaces that rightly have no runs, or were deleted for good: all that was written for them is freed."""
    digits: int = 1
    """Hexadecimal digits of a scope's tag that make the partitions: 16 with one, 256 with two, a single one with none."""
    at_once: int = 4
    """Partitions under way."""

    def __post_init__(self) -> None:
        if not self.namespaces:
            raise ConfigError("there is no namespace to sweep", "Name one at least.")
        if not 0 <= self.digits <= _MOST_DIGITS or self.at_once < 1:
            raise ConfigError(
                f"partitions by {self.digits} digits, {self.at_once} at once, are too many or none",
                f"Use 0 to {_MOST_DIGITS} digits, and one partition at once at least.",
            )
        self.rules()

    def rules(self) -> RetentionRules:
        """How long to wait."""
        grace = timedelta(days=self.grace_days)
        return RetentionRules(grace=grace, idle=grace)


@dataclass(frozen=True, slots=True)
class Part:
    """What an activity is given about one partition."""

    options: SweepOptions
    sweep: str
    """Name of the sweep."""
    begun: datetime
    """By the store's clock, before the engine was asked."""
    digits: str
    """With which the tags of the partition's scopes begin."""
