"""What is to become of a scope, by what a listing and the engine say of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.retention.index import ScopeFacts
from coatcheck.storage.markers import MOST_KEPT

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
    TRIM = "trimmed"
    """Look once more, and delete what its latest checkpoints do not need."""
    UNREADABLE = "unreadable"
    """Nothing: a checkpoint that is to be kept does not say what it needs."""
    UNDER_WAY = "under way"
    """Nothing: another sweep is at it, or was interrupted less than an hour ago."""

    @property
    def acts(self) -> bool:
        """Whether there is something to do."""
        return self in (Verdict.MARK, Verdict.SPARE, Verdict.DELETE, Verdict.TRIM)


@dataclass(frozen=True, slots=True)
class Rules:
    """How long to wait, and what to keep.

    Raises:
        ConfigError: The grace is below :data:`MIN_GRACE`, or ``idle`` below the grace, or nothing would ever be deleted.
    """

    grace: timedelta
    """Between the two looks."""
    idle: timedelta | None
    """How old the newest object of a scope must be before all of it goes; None for never."""
    checkpoints: bool = False
    """Whether this is about scopes that have checkpoints; otherwise about those that have none."""
    keep_last: int = 0
    """Of a scope that was idle for the grace, what more than so many of its latest checkpoints need goes; 0 for nothing."""

    def __post_init__(self) -> None:
        if self.grace < MIN_GRACE:
            raise ConfigError(
                f"a grace of {self.grace} is too short to be safe", f"Use at least {MIN_GRACE.days} day."
            )
        if self.idle is None and not self.keep_last:
            raise ConfigError("this keeps everything", "Say for how long, or how many.")
        if not 0 <= self.keep_last <= MOST_KEPT:
            raise ConfigError(f"{self.keep_last} checkpoints cannot be kept", f"Use 1 to {MOST_KEPT}.")
        if self.idle is not None and self.idle < self.grace:
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
            return _ending(facts.keep) if abandoned and ours else Verdict.UNDER_WAY
        if not of_this_kind:
            return Verdict.OTHER
        keep = self.keep_of(facts, now)
        is_marked = facts.tombstone is not None and not self.was_written_to(facts)
        if needed:
            return Verdict.SPARE if is_marked else Verdict.LIVE
        if keep is None:
            return Verdict.YOUNG
        if facts.tombstone is None or not is_marked:
            return Verdict.MARK
        return _ending(keep) if now - facts.tombstone >= self.grace else Verdict.WAITING

    def keep_of(self, facts: ScopeFacts, now: datetime) -> int | None:
        """How many of its latest checkpoints a scope without runs may keep, as long as it is as idle as it is.

        None if it may keep everything, 0 if all of it may go.
        """
        if facts.newest is None:
            return 0
        age = now - facts.newest
        if self.idle is not None and age > self.idle:
            return 0
        return self.keep_last if 0 < self.keep_last < facts.records and age > self.grace else None

    def was_written_to(self, facts: ScopeFacts) -> bool:
        """Whether the scope has anything that it did not have when it was marked, so that the mark means nothing.

        Everything in it was older than the grace then. To ask for no more than that leaves room for clocks that differ
        and for writes that take their time.
        """
        assert facts.tombstone is not None
        return facts.newest is not None and facts.newest > facts.tombstone - self.grace


def _ending(keep: int) -> Verdict:
    return Verdict.TRIM if keep else Verdict.DELETE
