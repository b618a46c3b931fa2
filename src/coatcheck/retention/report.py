"""What a sweep found, and did."""

from dataclasses import dataclass, field
from datetime import datetime

from coatcheck.retention.index import ScopeFacts
from coatcheck.retention.verdict import Verdict


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

    def add(self, facts: ScopeFacts) -> None:
        """Count one more scope."""
        self.scopes += 1
        self.objects += facts.objects
        self.size += facts.size
        self.oldest = min(filter(None, (self.oldest, facts.oldest)), default=None)
        self.newest = max(filter(None, (self.newest, facts.newest)), default=None)


@dataclass(slots=True)
class Report:
    """Of one sweep."""

    now: datetime
    """When it began, by the store's clock."""
    dry: bool
    """Whether nothing was done: then the tallies say what would be."""
    tallies: dict[Verdict, Tally] = field(default_factory=dict)
    deleted: int = 0
    """Objects that are gone."""
    freed: int = 0
    """Bytes of those."""
    versions_left: bool = False
    """The store may keep versions of what was deleted: the credentials may not see or delete them."""

    def of(self, verdict: Verdict) -> Tally:
        """Of the scopes of which this became."""
        return self.tallies.setdefault(verdict, Tally())

    @property
    def objects(self) -> int:
        """In all scopes that were looked at."""
        return sum(tally.objects for tally in self.tallies.values())

    @property
    def share(self) -> float:
        """Of those, what is in scopes of which something is to go: 0 to 1."""
        condemned = sum(self.of(verdict).objects for verdict in (Verdict.MARK, Verdict.DELETE, Verdict.TRIM))
        return condemned / self.objects if self.objects else 0.0
