"""The results of a sweep, by action."""

from dataclasses import dataclass, field
from datetime import datetime

from coatcheck.errors import LimitExceeded
from coatcheck.retention.index import ScopeFacts
from coatcheck.retention.rules import Action


@dataclass(slots=True)
class Tally:
    """Totals over scopes with the same action."""

    scopes: int = 0
    objects: int = 0
    """Number of objects, including records of checkpoints, without marks of sweeps."""
    size: int = 0
    """Bytes of those objects."""
    oldest: datetime | None = None
    """Time of writing of the oldest object."""
    newest: datetime | None = None
    """Time of writing of the newest object."""
    next: datetime | None = None
    """Earliest time at which one of them may be marked, deleted or taken over; None if that does not depend on time."""

    def add(self, facts: ScopeFacts, next_step: datetime | None = None) -> None:
        """Count one more scope.

        Args:
            facts: The scope.
            next_step: Time of its next action, if that depends on time.
        """
        self.add_all(Tally(1, facts.objects, facts.size, facts.oldest, facts.newest, next_step))

    def add_all(self, other: "Tally") -> None:
        """Add the scopes of another tally."""
        self.scopes += other.scopes
        self.objects += other.objects
        self.size += other.size
        self.oldest = min(filter(None, (self.oldest, other.oldest)), default=None)
        self.newest = max(filter(None, (self.newest, other.newest)), default=None)
        self.next = min(filter(None, (self.next, other.next)), default=None)


@dataclass(slots=True)
class Report:
    """The report of one sweep."""

    now: datetime
    """Start of the sweep, by the store's clock."""
    dry: bool
    """True if nothing was done: the tallies then show the actions that would be taken."""
    tallies: dict[Action, Tally] = field(default_factory=dict)
    deleted: int = 0
    """Number of deleted objects."""
    freed: int = 0
    """Bytes of deleted objects."""
    versions_left: bool = False
    """True if the store may keep versions of deleted objects: see :meth:`Store.delete_versions`."""
    denied: int = 0
    """Number of objects that the store did not allow to delete."""
    forged: int = 0
    """Number of marks that no sweep made, or that were copied back. They were ignored."""
    found: list[str] = field(default_factory=list)
    """Tenants with objects in the store, or with an earlier sweep."""

    def of(self, action: Action) -> Tally:
        """Return the tally of this action."""
        return self.tallies.setdefault(action, Tally())

    def add(self, other: "Report") -> None:
        """Add the report of another part of the same sweep."""
        for action, tally in other.tallies.items():
            self.of(action).add_all(tally)
        self.deleted += other.deleted
        self.freed += other.freed
        self.versions_left |= other.versions_left
        self.denied += other.denied
        self.forged += other.forged
        self.found = sorted({*self.found, *other.found})

    def check_share(self, allowed: float) -> None:
        """Check that not too large a share of the objects is to be deleted.

        Args:
            allowed: The allowed share, 0 to 1.

        Raises:
            LimitExceeded: :attr:`share` is above it.
        """
        if self.share > allowed:
            waiting = self.of(Action.WAITING).objects
            raise LimitExceeded(
                f"{self.share:.0%} of {self.objects:,} objects are in scopes that the engine does not know, but only "
                f"{allowed:.0%} are allowed; {waiting:,} of them were marked before; nothing was done",
                "Check namespaces, keys and the store. If it is right, allow a larger share (--max-share).",
            )

    @property
    def objects(self) -> int:
        """Number of objects in all scopes."""
        return sum(tally.objects for tally in self.tallies.values())

    @property
    def share(self) -> float:
        """Share of objects in scopes that are to be deleted, now or after the grace: 0 to 1."""
        doomed = sum(
            tally.objects for action, tally in self.tallies.items() if Action(action).leads_to_deletion
        )
        return doomed / self.objects if self.objects else 0.0
