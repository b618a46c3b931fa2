"""What is to become of a scope, by what a listing and the engine say of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.retention.index import ScopeFacts

MIN_GRACE: Final = timedelta(days=1)
"""Must be longer than all of these together: how long a process trusts what it knows of a scope (an hour), how long
after its payloads were written a run is started and shown by the engine, and how far the clocks of a store's machines
are apart."""
TAKEN_OVER_AFTER: Final = timedelta(hours=1)
"""Since a sweep claimed a scope: it stopped deleting there half an hour ago, finished or not."""


class Verdict(StrEnum):
    """What is to be done."""

    LIVE = "live"
    """Nothing: the engine knows a run of it."""
    YOUNG = "young"
    """Nothing: something was written not long ago."""
    OTHER = "other"
    """Nothing: checkpoints, in a sweep of an engine's runs; or the other way round."""
    MARK = "marked"
    """Write a tombstone."""
    WAITING = "waiting"
    """Nothing: the tombstone is too fresh."""
    SPARE = "spared"
    """Show that it is live again: by now the engine knows a run of it."""
    DELETE = "deleted"
    """Look once more, and delete."""
    UNDER_WAY = "under way"
    """Nothing: another sweep is at it, or was interrupted less than an hour ago."""

    @property
    def acts(self) -> bool:
        """Whether there is something to do."""
        return self in (Verdict.MARK, Verdict.SPARE, Verdict.DELETE)


@dataclass(frozen=True, slots=True)
class Rules:
    """How long to wait.

    Raises:
        ConfigError: The grace is below :data:`MIN_GRACE`, or ``idle`` below the grace.
    """

    grace: timedelta
    """Between the two looks."""
    idle: timedelta
    """How old the newest object of a scope must be before it is marked."""
    checkpoints: bool = False
    """Whether this is about scopes that have checkpoints; otherwise about those that have none."""

    def __post_init__(self) -> None:
        if self.grace < MIN_GRACE:
            raise ConfigError(
                f"a grace of {self.grace} is too short to be safe", f"Use at least {MIN_GRACE.days} day."
            )
        if self.idle < self.grace:
            raise ConfigError("what is kept must be kept for the grace at least", "Keep it longer.")

    def judge(self, facts: ScopeFacts, *, needed: bool, now: datetime) -> Verdict:
        """What is to become of a scope.

        Args:
            facts: What a listing said of it.
            needed: The engine knows a run of it.
            now: By the store's clock, from before the listing.
        """
        of_this_kind = (facts.records > 0) == self.checkpoints
        if facts.claimed is not None:
            abandoned = now - facts.claimed >= TAKEN_OVER_AFTER
            ours = of_this_kind or facts.deleting is not None
            return Verdict.DELETE if abandoned and ours else Verdict.UNDER_WAY
        if not of_this_kind:
            return Verdict.OTHER
        if facts.tombstone is None or self.was_written_to(facts):
            if needed:
                return Verdict.LIVE
            idle = facts.newest is not None and now - facts.newest > self.idle
            return Verdict.MARK if idle else Verdict.YOUNG
        if needed:
            return Verdict.SPARE
        return Verdict.DELETE if now - facts.tombstone >= self.grace else Verdict.WAITING

    def was_written_to(self, facts: ScopeFacts) -> bool:
        """Whether the scope has anything that it did not have when it was marked, so that the mark means nothing.

        Everything in it was older than the grace then. To ask for no more than that leaves room for clocks that differ
        and for writes that take their time.
        """
        assert facts.tombstone is not None
        return facts.newest is not None and facts.newest > facts.tombstone - self.grace
