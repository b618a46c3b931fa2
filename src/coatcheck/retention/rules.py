"""Decisions about scopes, by the listing and the engine."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.retention.index import ScopeFacts
from coatcheck.storage.sweep_marks import LAST_LEASE, MOST_KEPT

MIN_GRACE: Final = timedelta(days=1)
"""Longer than the sum of these: the time for which a process trusts its state of a scope (an hour), the time from
writing the payloads of a run until the engine shows the run, the time for which the write of a mark may be under way (an
hour), and the difference between the clocks of a store's machines."""
TAKEN_OVER_AFTER: Final = timedelta(hours=1)
"""Time after which a claim of a scope can be taken over: its sweep stopped deleting there half an hour before."""


class Action(StrEnum):
    """The action to take on a scope; in a report, the action that was taken."""

    LIVE = "live"
    """None: the engine knows a run of it."""
    YOUNG = "young"
    """None: it was written to recently."""
    MARK = "marked"
    """Write a mark."""
    WAITING = "waiting"
    """None: the grace of the mark is not over."""
    SPARE = "spared"
    """Show that it is live again: the engine now knows a run of it, or it was written to."""
    DELETE = "deleted"
    """Look again, and delete."""
    TRIM = "trimmed"
    """Look again, and delete objects that its latest checkpoints do not need."""
    UNREADABLE = "unreadable"
    """None: a checkpoint that is to be kept cannot be read, so its objects are unknown."""
    UNDER_WAY = "under way"
    """None: another sweep works on it, or was interrupted less than an hour ago."""
    FORGED = "forged"
    """None: it has more marks, or higher numbers in them, than sweeps make."""
    DENIED = "denied"
    """Incomplete: the store does not allow to delete something in it."""
    FAILED = "failed"
    """None or incomplete: the store or a key failed for this scope."""

    @property
    def acts(self) -> bool:
        """True if there is something to do."""
        return self in (Action.MARK, Action.SPARE, Action.DELETE, Action.TRIM)

    @property
    def leads_to_deletion(self) -> bool:
        """True if the scope is deleted or trimmed, now or after the grace."""
        return self in (Action.MARK, Action.WAITING, Action.DELETE, Action.TRIM, Action.UNDER_WAY)


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """The times and numbers by which a sweep decides.

    Raises:
        ConfigError: The grace is below :data:`MIN_GRACE`, or ``idle`` below the grace, or nothing would ever be deleted, or
            ``keep_last`` is out of range.
    """

    grace: timedelta
    """Time between the mark and the last look."""
    idle: timedelta | None
    """Age of the newest object from which a scope without runs is deleted; None for never."""
    keep_last: int = 0
    """Checkpoints to keep per run that is idle for the grace; what they do not need is deleted. 0 disables trimming."""

    def __post_init__(self) -> None:
        if self.grace < MIN_GRACE:
            raise ConfigError(
                f"a grace of {self.grace} is too short to be safe", f"Use at least {MIN_GRACE.days} day."
            )
        if self.idle is None and not self.keep_last:
            raise ConfigError(
                "these rules keep everything",
                "Set an idle time, or a number of checkpoints (--keep-days, --keep-last).",
            )
        if not 0 <= self.keep_last <= MOST_KEPT:
            raise ConfigError(f"{self.keep_last} checkpoints cannot be kept", f"Use 0 to {MOST_KEPT}.")
        if self.idle is not None and self.idle < self.grace:
            raise ConfigError(
                f"idle is {self.idle}, shorter than the grace of {self.grace}",
                "Use a longer idle time, or a shorter grace.",
            )

    def judge(self, facts: ScopeFacts, *, needed: bool, now: datetime) -> Action:
        """Return the action for a scope.

        Args:
            facts: Its facts from a listing, and from its marks.
            needed: True if the engine knows a run of it.
            now: Time before the listing, by the store's clock.
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
        """Return the earliest time at which a waiting scope may be marked, deleted or taken over; None for any other."""
        if action is Action.YOUNG and facts.newest is not None:
            return facts.newest + (self.idle or self.grace)
        if action is Action.WAITING and facts.marks.due is not None:
            return facts.marks.due + self.grace
        if action is Action.UNDER_WAY and facts.marks.leased is not None:
            return facts.marks.leased + TAKEN_OVER_AFTER
        return None

    def keep_of(self, facts: ScopeFacts, now: datetime) -> int | None:
        """Return the number of latest checkpoints that a scope without runs keeps at its present age.

        None if it keeps everything, 0 if all of it may be deleted.
        """
        if facts.newest is None:
            return 0
        if self.is_idle(facts.newest, now):
            return 0
        old = now - facts.newest > self.grace
        return self.keep_last if old and 0 < self.keep_last < facts.records else None

    def is_idle(self, newest: datetime, now: datetime) -> bool:
        """Return True if a scope without runs, last written to at ``newest``, may be deleted at ``now``."""
        return self.idle is not None and now - newest > self.idle

    def was_written_to(self, facts: ScopeFacts) -> bool:
        """Return True if the scope was written to since it was marked, so that the mark is void."""
        until = facts.marks.until
        assert until is not None
        return facts.newest is not None and facts.newest > until


def _ending(keep: int) -> Action:
    return Action.TRIM if keep else Action.DELETE
