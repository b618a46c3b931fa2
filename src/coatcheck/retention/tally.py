"""What a sweep found, and did."""

from dataclasses import dataclass, field
from datetime import datetime

from coatcheck.errors import LimitExceeded
from coatcheck.retention.index import ScopeFacts
from coatcheck.retention.rules import Action


@dataclass(slots=True)
class Tally:
    """Scopes of which the same became, together."""

    scopes: int = 0
    objects: int = 0
    """Records of checkpoints among them; not what a sweep writes."""
    size: int = 0
    """Bytes."""
    oldest: datetime | None = None
    """When the oldest object of them was written."""
    newest: datetime | None = None
    next: datetime | None = None
    """When the first of them may be marked, deleted or taken over, where it is only a matter of time."""

    def add(self, facts: ScopeFacts, next_step: datetime | None = None) -> None:
        """Count one more scope."""
        self.add_all(Tally(1, facts.objects, facts.size, facts.oldest, facts.newest, next_step))

    def add_all(self, other: "Tally") -> None:
        """Count the scopes of another tally, too."""
        self.scopes += other.scopes
        self.objects += other.objects
        self.size += other.size
        self.oldest = min(filter(None, (self.oldest, other.oldest)), default=None)
        self.newest = max(filter(None, (self.newest, other.newest)), default=None)
        self.next = min(filter(None, (self.next, other.next)), default=None)


@dataclass(slots=True)
class Report:
    """Of one sweep."""

    now: datetime
    """When it began, by the store's clock."""
    dry: bool
    """Whether nothing was done: then the tallies say what would be."""
    tallies: dict[Action, Tally] = field(default_factory=dict)
    deleted: int = 0
    """Objects that are gone."""
    freed: int = 0
    """Bytes of those."""
    versions_left: bool = False
    """The store may keep versions of what was deleted: see :meth:`Store.delete_versions`."""
    denied: int = 0
    """Objects that the store did not allow to delete."""
    forged: int = 0
    """Marks that no sweep made, or that somebody put back. They were ignored."""
    found: list[str] = field(default_factory=list)
    """The tenants of which the store has something."""

    def of(self, action: Action) -> Tally:
        """Of the scopes of which this became."""
        return self.tallies.setdefault(action, Tally())

    def add(self, other: "Report") -> None:
        """Take in what another part of the same sweep found, and did."""
        for action, tally in other.tallies.items():
            self.of(action).add_all(tally)
        self.deleted += other.deleted
        self.freed += other.freed
        self.versions_left |= other.versions_left
        self.denied += other.denied
        self.forged += other.forged
        self.found = sorted({*self.found, *other.found})

    def check_share(self, allowed: float) -> None:
        """See that not too much is on its way out.

        Raises:
            LimitExceeded: :attr:`share` is above what is allowed.
        """
        if self.share > allowed:
            waiting = self.of(Action.WAITING).objects
            raise LimitExceeded(
                f"{self.share:.0%} of {self.objects:,} objects are in scopes that the engine does not know, more than "
                f"the {allowed:.0%} that are allowed; {waiting:,} of them were marked before; nothing was done",
                "Check namespaces, keys and the store. If it is right, allow a larger share (--max-share).",
            )

    @property
    def objects(self) -> int:
        """In all scopes that were looked at."""
        return sum(tally.objects for tally in self.tallies.values())

    @property
    def share(self) -> float:
        """The share of objects in scopes that are on their way out, also those that wait: 0 to 1."""
        doomed = sum(
            tally.objects for action, tally in self.tallies.items() if Action(action).leads_to_deletion
        )
        return doomed / self.objects if self.objects else 0.0
