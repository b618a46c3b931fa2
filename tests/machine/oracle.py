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
    """When something was last written."""
    steps: dict[int, Promise] = field(default_factory=dict)
    """Those whose records have to be there."""
    returned: dict[Promise, None] = field(default_factory=dict)
    """All that has to open, of earlier saves of a step as well."""


@dataclass(eq=False)
class Saved:
    """The checkpoints of one run."""

    name: str
    kept: defaultdict[bytes, Kept] = field(default_factory=lambda: defaultdict(Kept))
    """By the id of the key."""
    states: dict[int, set[bytes]] = field(default_factory=dict)
    """What a step can hold: more than one where nobody knows which save came last."""
    ever: defaultdict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """What it ever held."""
    loose: bool = False
    """Whether a save may still take effect, that nobody heard of."""
    maybe: set[int] = field(default_factory=set)
    """Steps whose records need not be there, and may be."""

    @property
    def steps(self) -> set[int]:
        """Those that have to be there."""
        return {step for kept in self.kept.values() for step in kept.steps}

    def record(self, step: int, promise: Promise, now: timedelta) -> None:
        kept = self.kept[Reference.from_bytes(promise.reference).key_id]
        kept.newest = now
        kept.steps[step] = promise
        kept.returned[promise] = None
        self.ever[step].add(promise.data)
        self.states[step] = self.ever[step] if self.loose else {promise.data}

    def may_go(self, kept: Kept) -> None:
        """All of one key may: a step that was saved under several then holds what it held before."""
        self.maybe.update(kept.steps)
        for step in kept.steps if len(self.kept) > 1 else ():
            self.states[step] = self.ever[step]
        kept.steps.clear()
        kept.returned.clear()


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
            tuple(schedule.place(0) for schedule in self.schedules) if engine == "temporal" else (),
        )

    def checkpoints_may_go(self, keep_days: int | None, keep_last: int) -> None:
        """A sweep of checkpoints begins, by these rules."""
        for saved, kept in [(one, kept) for one in self.saved.values() for kept in one.kept.values()]:
            # What goes was idle for a grace when it was marked, and then for another one; by which rules it was marked is
            # not said.
            idle = self.elapsed - kept.newest
            if keep_days is not None and idle >= max(timedelta(days=keep_days), 2 * GRACE):
                saved.may_go(kept)
            elif keep_last and idle >= 2 * GRACE:
                latest = sorted(saved.maybe | kept.steps.keys())[-keep_last:]
                kept.steps = {step: promise for step, promise in kept.steps.items() if step in latest}
                kept.returned = dict.fromkeys(kept.steps.values())
