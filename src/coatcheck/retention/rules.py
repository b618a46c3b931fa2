"""What is to become of a scope, by what a listing and the engine say of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.retention.index import ScopeFacts
from coatcheck.storage.sweep_marks import LAST_LEASE, MOST_KEPT

MIN_GRACE: Final = timedelta(days=1)
"""Must be longer than all of these together: how long a process trusts what it knows of a scope (an hour), how long
after its payloads were written a run is started and shown by the engine, how long a mark may be under way (an hour), and how
far the clocks of a store's machines are apart."""
TAKEN_OVER_AFTER: Final = timedelta(hours=1)
"""Since a sweep claimed a scope: it stopped deleting there half an hour ago, finished or not."""


class Action(StrEnum):
    """The action to take, and in a report the action that was taken."""

    LIVE = "live"
    """Nothing: the engine knows a run of it."""
    YOUNG = "young"
    """Nothing: something was written not long ago."""
    MARK = "marked"
    """Write a mark."""
    WAITING = "waiting"
    """Nothing: the mark is too fresh."""
    SPARE = "spared"
    """Show that it is live again: by now the engine knows a run of it, or somebody wrote there."""
    DELETE = "deleted"
    """Look once more, and delete."""
    TRIM = "trimmed"
    """Look once more, and delete what its latest checkpoints do not need."""
    UNREADABLE = "unreadable"
    """Nothing: a checkpoint that is to be kept does not say what it needs."""
    UNDER_WAY = "under way"
    """Nothing: another sweep is at it, or was interrupted less than an hour ago."""
    FORGED = "forged"
    """Nothing: it has more marks, or higher numbers, than sweeps make."""
    DENIED = "denied"
    """The store does not allow to delete something of it."""
    FAILED = "failed"
    """Nothing, or not all: the store or a key failed for this scope."""

    @property
    def acts(self) -> bool:
        """Whether there is something to do."""
        return self in (Action.MARK, Action.SPARE, Action.DELETE, Action.TRIM)

    @property
    def leads_to_deletion(self) -> bool:
        """True if the scope is on its way out."""
        return self in (Action.MARK, Action.WAITING, Action.DELETE, Action.TRIM, Action.UNDER_WAY)


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
    keep_last: int = 0
    """Checkpoints to keep of a run that was idle for the grace; what they do not need is deleted. 0 disables trimming."""

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

    def judge(self, facts: ScopeFacts, *, needed: bool, now: datetime) -> Action:
        """Return what is to become of a scope.

        Args:
            facts: What a listing said of it, and its marks.
            needed: The engine knows a run of it.
            now: By the store's clock, from before the listing.
        """
        marks = facts.marks
        if marks.unread or marks.crowded or marks.highest >= LAST_LEASE:
            unneeded = Action.FAILED if marks.unread else Action.FORGED
        elif marks.leased is not None:
            if now - marks.leased < TAKEN_OVER_AFTER:
                return Action.UNDER_WAY
            return Action.SPARE if needed else _ending(marks.keep)
        elif marks.due is not None and not self.was_written_to(facts):
            return Action.SPARE if needed else self._marked(facts, marks.due, now)
        else:
            unneeded = Action.YOUNG if self.keep_of(facts, now) is None else Action.MARK
        return Action.LIVE if needed else unneeded

    def _marked(self, facts: ScopeFacts, due: datetime, now: datetime) -> Action:
        keep = self.keep_of(facts, now)
        if keep is None:
            return Action.YOUNG
        return _ending(keep) if now - due >= self.grace else Action.WAITING

    def next_step(self, facts: ScopeFacts, action: Action) -> datetime | None:
        """Return when a scope that waits may be marked, deleted or taken over at the earliest; None for any other."""
        if action is Action.YOUNG and facts.newest is not None:
            return facts.newest + (self.idle or self.grace)
        if action is Action.WAITING and facts.marks.due is not None:
            return facts.marks.due + self.grace
        if action is Action.UNDER_WAY and facts.marks.leased is not None:
            return facts.marks.leased + TAKEN_OVER_AFTER
        return None

    def keep_of(self, facts: ScopeFacts, now: datetime) -> int | None:
        """Return how many of its latest checkpoints a scope without runs may keep, as long as it is as idle as it is.

        None if it may keep everything, 0 if all of it may go.
        """
        if facts.newest is None:
            return 0
        if self.is_idle(facts.newest, now):
            return 0
        old = now - facts.newest > self.grace
        return self.keep_last if old and 0 < self.keep_last < facts.records else None

    def is_idle(self, newest: datetime, now: datetime) -> bool:
        """Tell if all of a scope that was last written to then may go."""
        return self.idle is not None and now - newest > self.idle

    def was_written_to(self, facts: ScopeFacts) -> bool:
        """Tell if the scope has anything that it did not have when it was marked, so that the mark is void."""
        until = facts.marks.until
        assert until is not None
        return facts.newest is not None and facts.newest > until


def _ending(keep: int) -> Action:
    return Action.TRIM if keep else Action.DELETE
