"""What processes are given to do, and what has to come of it."""

import itertools
from collections.abc import Callable
from typing import Any, Final

from tests.machine.adapter import ENGINES, Place, Shown
from tests.machine.crew import Job
from tests.machine.judge import BrokenPromiseError, Judge
from tests.machine.oracle import Oracle, Promise, Run, Saved, Schedule
from tests.machine.payloads import payload
from tests.machine.process import Answer
from tests.machine.scenarios import MANY_WORKFLOWS, Step

SLOTS: Final = 3
_STEPS: Final = 6
_KEEP: Final[tuple[tuple[int | None, int], ...]] = ((30, 0), (10, 0), (None, 2), (30, 1))
"""Days and checkpoints that sweeps of checkpoints are told to keep."""

Acknowledged = Callable[[bytes, bytes], None]


class Work:
    """Makes jobs of steps. Each is checked by what the oracle knows, and adds to it.

    Args:
        oracle: What was promised.
        judge: Of what comes back.
        families: What can happen.
    """

    def __init__(self, oracle: Oracle, judge: Judge, families: frozenset[str]) -> None:
        self._oracle = oracle
        self._judge = judge
        self.engines = ENGINES if "two engines" in families else ENGINES[:1]
        # A wrong answer shows in no share of the whole only where there is much.
        self._workflows, self._most_runs = (
            (MANY_WORKFLOWS, 2 * MANY_WORKFLOWS) if "wrong engine" in families else (2, 8)
        )
        self._count = itertools.count()
        self._swept: set[str] = set()
        self._rotates = "rotation" in families
        self._names = ("w0", "w1") if "shared names" in families else ("c0", "c1")

    def job(self, step: Step) -> Job | None:
        """None where there is nothing for it."""
        name, *args = step
        make: Callable[..., Job | None] = getattr(self, str(name))
        return make(*args)

    def workflow(self, number: int) -> Place:
        engine = self.engines[number // self._workflows % len(self.engines)]
        return Place(engine, f"w{number % self._workflows}")

    def saved(self, number: int) -> Saved:
        name = self._names[number % len(self._names)]
        return self._oracle.saved.setdefault(name, Saved(name))

    def run(self, number: int) -> Run | None:
        runs = self._oracle.runs
        return runs[number % len(runs)] if runs else None

    # Runs

    def start(self, slot: int, workflow: int, number: int, *_: int) -> Job | None:
        if len(self._oracle.runs) >= self._most_runs:
            return None
        run = Run(self.workflow(workflow), self._oracle.elapsed)

        def started(reference: bytes, data: bytes) -> None:
            run.record(reference, data)
            self._oracle.runs.append(run)

        return self.encode(slot, run.place, payload(number), started)

    def go_on(self, slot: int, which: int, number: int, *_: int) -> Job | None:
        run = self.run(which)
        return None if run is None else self.encode(slot, run.place, payload(number), run.record)

    def orphan(self, slot: int, workflow: int, number: int, *_: int) -> Job:
        """It is written, and never journaled."""
        return self.encode(slot, self.workflow(workflow), payload(number), lambda *_: None)

    def share(self, slot: int, number: int, *_: int) -> Job:
        """For the tenant as a whole."""

        def shared(reference: bytes, data: bytes) -> None:
            self._oracle.shared[Promise(reference, Place(), data)] = self._oracle.elapsed

        return self.encode(slot, Place(), payload(number), shared)

    def encode(self, slot: int, place: Place, data: bytes, acknowledged: Acknowledged) -> Job:
        def check(answer: Answer) -> None:
            encoded = self._judge.value_of(answer, f"encode in {place}")
            if encoded is not None:
                acknowledged(encoded, data)
                self._judge.open_anew([Promise(encoded, place, data)])

        return Job(slot % SLOTS, "encode", (place, data), check)

    def open(self, slot: int, which: int, *_: int) -> Job | None:
        promises = list(self._oracle.promises())
        return self.opening(slot, promises[which % len(promises)]) if promises else None

    def opening(self, slot: int, promise: Promise) -> Job:
        def check(answer: Answer) -> None:
            self._judge.check_opened(promise, answer, f"process {slot % SLOTS}")

        return Job(slot % SLOTS, "open", (promise.opener, promise.reference), check)

    def replay(self, slot: int, which: int, *_: int) -> Job | None:
        run = self.run(which)
        if run is None:
            return None
        journal = list(run.journal)

        def check(answer: Answer) -> None:
            done = self._judge.value_of(answer, f"replay of {run.place}")
            for promise, (opened, again) in zip(journal, done or [], strict=done is not None):
                if opened != promise.data:
                    raise BrokenPromiseError(f"a replay of {run.place} reads other bytes")
                run.record(again, opened)
            if done:
                self._judge.open_anew(run.journal)

        return Job(slot % SLOTS, "replay", (run.place, [one.reference for one in journal]), check)

    def trigger(self, slot: int, which: int, number: int, *_: int) -> Job | None:
        """A schedule starts a run, which gets what the last one gave back, and gives something back itself."""
        schedules = self._oracle.schedules
        if not schedules or len(self._oracle.runs) >= self._most_runs:
            return None
        schedule: Schedule = schedules[which % len(schedules)]
        run = Run(schedule.place(schedule.count + 1), self._oracle.elapsed)
        data = payload(number)
        if schedule.last is not None:
            run.record(*schedule.last)

        def check(answer: Answer) -> None:
            encoded = self._judge.value_of(answer, f"run of {schedule.name}")
            if encoded is None:
                return
            schedule.count += 1
            run.record(encoded, data)
            self._oracle.runs.append(run)
            schedule.last = encoded, data
            self._judge.open_anew(run.journal)

        inputs = [] if schedule.last is None else [schedule.last[0]]
        return Job(slot % SLOTS, "trigger", (run.place, inputs, data), check)

    # Checkpoints

    def save(self, slot: int, name: int, step: int, number: int, *_: int) -> Job:
        saved, data = self.saved(name), payload(number)
        recurs = saved.name == self._names[1]
        if not recurs:
            data += b" %d" % next(self._count)

        def check(answer: Answer) -> None:
            if answer.error == "CheckpointConflict" and self._judge.together:
                return  # nothing was recorded
            encoded = self._judge.value_of(answer, f"save of {saved.name}")
            if encoded is None:
                saved.lose(data)
                return
            promise = Promise(encoded, Place("checkpoints", saved.name), data)
            before = set(saved.latest)
            # Two that save at once under two keys are not told of each other: one of their records is shown.
            if recurs or (self._judge.together and self._rotates):
                saved.touch(promise, self._oracle.elapsed)
            else:
                saved.record(promise, self._oracle.elapsed)
            if self._judge.together:
                saved.latest |= before
            self._judge.open_anew([promise])

        return Job(
            slot % SLOTS, "save", (saved.name, step % _STEPS, data), check, lost=lambda: saved.lose(data)
        )

    def restore(self, slot: int, name: int, *_: int) -> Job | None:
        saved = self.saved(name)
        if not saved.is_there:
            return None
        before = set(saved.latest)

        def check(answer: Answer) -> None:
            if not saved.is_there:
                return
            data = self._judge.value_of(answer, f"restore of {saved.name}")
            allowed = saved.latest | before if self._judge.together else saved.latest
            if data is not None and data not in allowed:
                raise BrokenPromiseError(f"restore of {saved.name} gives another state than the last")

        return Job(slot % SLOTS, "restore", (saved.name,), check)

    def history(self, slot: int, name: int, *_: int) -> Job:
        saved = self.saved(name)

        def check(answer: Answer) -> None:
            if not saved.is_there:
                return
            found = self._judge.value_of(answer, f"latest and history of {saved.name}")
            if found is None:
                return
            latest, references = found
            missing = saved.recorded - set(references)
            if latest is None or missing:
                raise BrokenPromiseError(f"the history of {saved.name} lacks {len(missing)}")

        return Job(slot % SLOTS, "history", (saved.name,), check)

    # Sweeps

    def sweep(self, slot: int, engine: int, *_: int) -> Job:
        name = self.engines[engine % len(self.engines)]
        return self._sweep(slot, name, "sweep", name, "cluster", self._oracle.shown(name), False)

    def sweep_checkpoints(self, slot: int, rules: int, *_: int) -> Job:
        keep_days, keep_last = _KEEP[rules % len(_KEEP)]
        self._oracle.checkpoints_may_go(keep_days, keep_last)
        return self._sweep(slot, "checkpoints", "sweep_checkpoints", keep_days, keep_last)

    def sweep_wrong(self, slot: int, engine: int, *_: int) -> Job | None:
        """Asks another cluster, which knows none of the runs. Whom a store is swept for is known once it was swept."""
        name = self.engines[engine % len(self.engines)]
        if name not in self._swept:
            return None
        call = (name, "another cluster", Shown(), True)
        return Job(slot % SLOTS, "sweep", call, lambda _: self._judge.audit(), sweeps=True)

    def _sweep(self, slot: int, kind: str, call: str, *args: Any) -> Job:
        def check(answer: Answer) -> None:
            done = self._judge.value_of(answer, f"sweep of {kind}")
            if done is not None:
                self._judge.swept(kind)
            deleted, found = done or (None, False)
            if found:
                self._swept.add(kind)
            if deleted != 0:
                self._judge.audit()

        return Job(slot % SLOTS, call, args, check, sweeps=True)
