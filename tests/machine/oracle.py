"""What was acknowledged, and for how long each of it has to open: known from outside, by what the documentation promises."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple

from coatcheck.format.reference import Reference
from tests.machine.adapter import GRACE, Place, Shown

UNSEEN: Final = timedelta(minutes=30)
"""As long as an engine does not show a run that was started."""
LONGEST_RUN: Final = timedelta(days=9)
RETENTION: Final = timedelta(days=3)
NEEDED: Final = LONGEST_RUN + RETENTION
"""As long as a payload of the tenant scope can be needed."""


class Promise(NamedTuple):
    """A reference that was acknowledged."""

    reference: bytes
    opener: Place
    """Who has to be able to open it."""
    data: bytes


@dataclass(eq=False)
class Run:
    """One run that an engine knows."""

    place: Place
    started: timedelta
    journal: dict[Promise, None] = field(default_factory=dict)

    def record(self, reference: bytes, data: bytes) -> None:
        self.journal[Promise(reference, self.place, data)] = None


@dataclass(eq=False)
class Schedule:
    """Starts runs, and hands each what the last one gave back."""

    name: str
    count: int = 0
    last: tuple[bytes, bytes] | None = None
    """Reference and payload."""

    def place(self, number: int) -> Place:
        return Place("temporal", f"{self.name}-{number}", self.name)


@dataclass
class Kept:
    """Checkpoints of one run that are sealed under one key: a sweep cannot see that the others are the same run's."""

    newest: timedelta = timedelta()
    """When something was last written for sure."""
    touched: timedelta = timedelta()
    """When something was last saved, be it that it was there already: no sweep takes it before a grace is over."""
    recorded: list[Promise] = field(default_factory=list)
    """Those whose records have to be there, in the order in which they were saved."""
    doubtful: int = 0
    """Saves that may have made a record."""
    returned: dict[Promise, None] = field(default_factory=dict)
    """All that has to open."""


@dataclass(eq=False)
class Saved:
    """The checkpoints of one run."""

    name: str
    kept: defaultdict[bytes, Kept] = field(default_factory=lambda: defaultdict(Kept))
    """By the id of the key."""
    latest: set[bytes] = field(default_factory=set)
    """The state that was saved last: several where nobody knows which that was."""
    unsure: list[bytes] = field(default_factory=list)
    """States that may have been recorded at any time, and nobody heard of it."""
    ever: set[bytes] = field(default_factory=set)

    @property
    def recorded(self) -> set[bytes]:
        """The references of all whose records have to be there."""
        return {promise.reference for kept in self.kept.values() for promise in kept.recorded}

    @property
    def is_there(self) -> bool:
        """Whether something of it has to be there."""
        return any(kept.returned for kept in self.kept.values())

    def record(self, promise: Promise, now: timedelta) -> None:
        """It was saved, after all others."""
        kept = self.kept[Reference.from_bytes(promise.reference).key_id]
        kept.newest = kept.touched = now
        kept.recorded.append(promise)
        kept.returned[promise] = None
        self.latest = {promise.data, *self.unsure}
        self.ever.add(promise.data)

    def touch(self, promise: Promise, now: timedelta) -> None:
        """It was saved, and may have been there already, at the end or before."""
        kept = self.kept[Reference.from_bytes(promise.reference).key_id]
        kept.touched = now
        kept.doubtful += 1
        kept.returned[promise] = None
        self.latest.add(promise.data)
        self.ever.add(promise.data)

    def lose(self, data: bytes) -> None:
        """Somebody tried to save it, and nobody knows what came of it."""
        self.unsure.append(data)
        self.latest.add(data)
        self.ever.add(data)

    def all_may_go(self, kept: Kept) -> None:
        """All of one key may: what was saved last can then be what was saved under another key."""
        kept.recorded.clear()
        kept.returned.clear()
        self.latest = set(self.ever)

    def all_but_latest_may_go(self, kept: Kept, keep: int) -> None:
        """All of one key but so many that were saved last may."""
        # What nobody heard of may be among those.
        surely = max(0, keep - len(self.unsure) - kept.doubtful)
        kept.recorded = kept.recorded[-surely:] if surely else []
        kept.returned = dict.fromkeys(kept.recorded)


class Oracle:
    """The engines' journals, and what operators were told."""

    def __init__(self) -> None:
        self.elapsed = timedelta()
        self.runs: list[Run] = []
        self.schedules: list[Schedule] = []
        self.shared: dict[Promise, timedelta] = {}
        """Of the tenant scope, and when each was acknowledged last."""
        self.saved: dict[str, Saved] = {}

    def promises(self) -> Iterator[Promise]:
        """All that has to open now."""
        for run in self.runs:
            yield from run.journal
        for schedule in self.schedules:
            if schedule.last is not None:
                reference, data = schedule.last
                yield Promise(reference, schedule.place(schedule.count + 1), data)
        self.shared = {one: at for one, at in self.shared.items() if self.elapsed - at < NEEDED}
        yield from self.shared
        for saved in self.saved.values():
            for kept in saved.kept.values():
                yield from kept.returned

    def shown(self, engine: str) -> Shown:
        """What an engine shows now."""
        runs = [
            run for run in self.runs if run.place.engine == engine and self.elapsed - run.started >= UNSEEN
        ]
        return Shown(
            tuple(dict.fromkeys(run.place for run in runs)),
            tuple(dict.fromkeys(one.reference for run in runs for one in run.journal)),
            tuple(schedule.name for schedule in self.schedules) if engine == "temporal" else (),
        )

    def checkpoints_may_go(self, keep_days: int | None, keep_last: int) -> None:
        """A sweep of checkpoints begins, by these rules."""
        for saved, kept in [(one, kept) for one in self.saved.values() for kept in one.kept.values()]:
            # What goes was idle for a grace when it was marked, and then for another one; by which rules it was marked is
            # not said.
            idle = self.elapsed - kept.newest
            if self.elapsed - kept.touched < GRACE:
                continue
            if keep_days is not None and idle >= max(timedelta(days=keep_days), 2 * GRACE):
                saved.all_may_go(kept)
            elif keep_last and idle >= 2 * GRACE:
                saved.all_but_latest_may_go(kept, keep_last)
