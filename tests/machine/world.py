"""Stores, processes, engines and time: carries out one step after the other, until a promise is broken."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.format.layout import is_object, is_record, split
from tests.machine.adapter import KEYS, chain_on, kept_by
from tests.machine.crew import Crew, Ground, Job
from tests.machine.door import FOR_GOOD, MISHAPS, OPERATIONS
from tests.machine.judge import BrokenPromiseError, Judge, running_on
from tests.machine.oracle import Oracle, Run, Schedule
from tests.machine.payloads import payload
from tests.machine.process import ROOMY, TINY, Kind, Setting
from tests.machine.scenarios import SPANS, Step
from tests.machine.vandal import Vandal
from tests.machine.work import SLOTS, Work
from tests.retention.aged_store import AgedStore

_SCHEDULES: Final = 2
_SKEWS: Final = (timedelta(), timedelta(days=7), timedelta(days=-7))
_SWEEPS: Final = 5
"""Until nothing is left that nobody needs: finish what was begun, wait for planted marks, mark, delete."""


class World:
    """Everything of one episode.

    Args:
        ground: Where objects are.
        crew: The processes, none of which has begun.
        folder: Theirs.
        families: What can happen.
    """

    def __init__(self, ground: Ground, crew: Crew, folder: Path, families: frozenset[str]) -> None:
        self.done: Counter[str] = Counter()
        """Steps by name; those that there was nothing for are not counted."""
        self._ground = ground
        self._crew = crew
        self._families = families
        self._oracle = Oracle()
        self._loop = ground.new_loop()
        shared, replica = ground.stores()
        self._store = AgedStore(shared)
        self._vandal = Vandal(self._store, replica, folder)
        kinds = {"temporal"}
        if "two engines" in families:
            kinds.add("restate")
        if "checkpoints" in families:
            kinds.add("checkpoints")
        self._judge = Judge(self._oracle, self._store, running_on(self._loop), frozenset(kinds))
        self._kinds = kinds
        self._work = Work(self._oracle, self._judge, families)
        self._spoilt: int | None = None
        """Whose next work is spoiled."""
        self._settings = [self._setting(slot, slot, slot, 0) for slot in range(SLOTS)]
        for slot, setting in enumerate(self._settings):
            crew.start(slot, setting)

    def do(self, step: Step) -> None:
        """One step.

        Raises:
            BrokenPromiseError: It shows that something does not hold.
        """
        name, *args = step
        happens: Callable[..., bool | None] | None = getattr(self, f"_{name}", None)
        if happens is None:
            job = self._work.job(step)
            happened = job is not None
            if job is not None:
                self._do_job(job)
        else:
            happened = happens(*args) is not False
        self.done[str(name)] += happened

    def end(self) -> None:
        """All that was promised opens everywhere; writers are not kept out; what nobody can reach goes away."""
        self._spoil_nothing()
        self._check_everywhere()
        del self._oracle.schedules[::2], self._oracle.runs[::2]
        for _ in range(_SWEEPS):
            self._time(len(SPANS) - 1)
            self._sweep_all()
        self._check_everywhere()
        for slot in range(SLOTS):
            for run in self._oracle.runs:
                self._do_job(self._work.encode(slot, run.place, payload(slot), run.record))
        self._judge.audit()
        self._check_nothing_else_stays()

    def close(self) -> None:
        self._crew.close()
        self._loop.run_until_complete(self._store.close())
        self._loop.close()

    # Work that something happens to

    def _together(self, seed: int, *steps: Step) -> bool:
        jobs = [job for step in steps if (job := self._work.job(step)) is not None]
        if not jobs:
            return False
        self._spoil_nothing()
        if any(job.sweeps for job in jobs):
            self._judge.disturb()
        done = zip(jobs, self._crew.ask_all(jobs, seed), strict=True)
        self._judge.together = True
        # Whoever read meanwhile may have seen what was saved meanwhile.
        for job, answer in sorted(done, key=lambda pair: pair[0].name != "save"):
            job.check(answer)
        self._judge.together = False
        if any(job.sweeps for job in jobs):
            self._judge.audit()
        return True

    def _killed(self, turns: int, step: Step) -> bool:
        job = self._work.job(step)
        if job is None:
            return False
        self._spoil_nothing()
        if job.sweeps:
            self._judge.disturb()
        answer = self._crew.ask_and_kill(job, turns, self._settings[job.slot])
        if job.sweeps:
            self._remember()
        if answer is None:
            job.lost()
        else:
            job.check(answer)
        if job.sweeps:
            self._judge.audit()
        return True

    def _fault(self, slot: int, operation: int, mishap: int, times: int, skip: int, *_: int) -> bool:
        """It spoils what the process does next."""
        if self._spoilt is not None:
            return False
        self._spoilt = slot % SLOTS
        plan = OPERATIONS[operation % len(OPERATIONS)], MISHAPS[mishap % len(MISHAPS)]
        self._crew.ask(self._spoilt, "fault", *plan, (1, 2, FOR_GOOD)[times % 3], skip % 4)
        return True

    def _do_job(self, job: Job) -> None:
        if job.sweeps:
            self._remember()
        spoilt = self._spoilt == job.slot
        if spoilt and job.sweeps:
            self._judge.disturb()
        answer = self._crew.ask(job.slot, job.name, *job.args)
        if job.sweeps:
            self._remember()
        if spoilt:
            self._spoil_nothing()
            if answer.error:
                # A replica that was damaged answers with what is damaged, as long as nobody else answers.
                damaged = "replicas" in self._families and answer.error in ("IntegrityError", "FormatError")
                if not (answer.retryable or job.sweeps or damaged):
                    raise BrokenPromiseError(f"a fault that passes is said to stay: {job.name}: {answer}")
                job.lost()
                answer = self._crew.ask(job.slot, job.name, *job.args)
        job.check(answer)

    def _spoil_nothing(self) -> None:
        if self._spoilt is not None:
            self._crew.ask(self._spoilt, "calm")
            self._spoilt = None

    # Engines

    def _continue(self, which: int, length: int, *_: int) -> bool:
        """A reset, a retry, continue-as-new: another run of the same workflow, with what the first one began with."""
        run = self._work.run(which)
        if run is None or len(self._oracle.runs) > 2 * _SCHEDULES + SLOTS:
            return False
        journal = dict(list(run.journal.items())[: length % 5 + 1])
        self._oracle.runs.append(Run(run.place, self._oracle.elapsed, journal))
        return True

    def _purge(self, which: int, *_: int) -> bool:
        run = self._work.run(which)
        if run is not None:
            self._oracle.runs.remove(run)
        return run is not None

    def _purge_all(self, workflow: int, *_: int) -> None:
        place = self._work.workflow(workflow)
        self._oracle.runs = [run for run in self._oracle.runs if run.place != place]

    def _schedule(self, *_: int) -> bool:
        schedules = self._oracle.schedules
        free = {f"s{number}" for number in range(_SCHEDULES)} - {one.name for one in schedules}
        if free:
            schedules.append(Schedule(min(free)))
        return bool(free)

    def _unschedule(self, which: int, *_: int) -> bool:
        schedules = self._oracle.schedules
        if schedules:
            del schedules[which % len(schedules)]
        return bool(schedules)

    # Processes and time

    def _time(self, span: int, *_: int) -> None:
        for slot in range(SLOTS):
            self._crew.ask(slot, "arrive")
        by = timedelta(minutes=SPANS[span % len(SPANS)])
        aged = self._loop.run_until_complete(self._store.age(by))
        self._oracle.elapsed += by
        self._crew.pass_time(aged, self._oracle.elapsed)

    def _restart(self, slot: int, kind: int, primary: int, roomy: int, *_: int) -> None:
        self._spoil_nothing()
        slot %= SLOTS
        self._settings[slot] = self._setting(kind, primary, roomy, roomy // 2)
        self._crew.start(slot, self._settings[slot])

    def _evict(self, slot: int, *_: int) -> None:
        self._crew.ask(slot % SLOTS, "evict")

    def _new_loop(self, slot: int, *_: int) -> None:
        self._crew.new_loop(slot % SLOTS)

    def _setting(self, kind: int, primary: int, skew: int, roomy: int) -> Setting:
        kinds: list[Kind] = ["plain"]
        if "copies" in self._families:
            kinds.append("cached")
        if "replicas" in self._families:
            kinds.append("fallback")
        if len(kinds) > 2:
            kinds.append("both")
        return Setting(
            kind=kinds[kind % len(kinds)],
            primary=primary % len(KEYS) if "rotation" in self._families else 0,
            skew=_SKEWS[skew % len(_SKEWS)],
            cache=TINY if roomy % 4 == 1 else ROOMY,
            deadline=self._ground.deadline,
        )

    # What happens to objects

    def _expire(self, *_: int) -> bool:
        self._remember()
        expired: bool = self._loop.run_until_complete(self._vandal.expire())
        if expired:
            self._judge.audit()
        return expired

    def _replicate(self, share: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.replicate(share))

    def _replicate_deletions(self, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.replicate_deletions())

    def _damage_replica(self, which: int, how: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.damage_replica(which, how))

    def _damage_copy(self, which: int, how: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.damage_copy(which, how))

    def _plant_name(self, which: int, name: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.plant_name(which, name))

    def _plant_large(self, which: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.plant_large(which))

    def _plant_object(self, which: int, how: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.plant_object(which, how))

    def _plant_again(self, which: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.plant_again(which))

    def _plant_mark_again(self, which: int, *_: int) -> bool:
        return self._loop.run_until_complete(self._vandal.plant_mark_again(which))

    def _remember(self) -> None:
        if self._families & {"planted objects", "planted again", "planted marks"}:
            self._loop.run_until_complete(self._vandal.look())

    # What has to hold in the end

    def _sweep_all(self) -> None:
        for number in range(len(self._work.engines)):
            self._do_job(self._work.sweep(0, number))
        if "checkpoints" in self._kinds:
            self._do_job(self._work.sweep_checkpoints(1, 1))

    def _check_everywhere(self) -> None:
        self._judge.audit()
        for slot in range(SLOTS):
            for promise in list(self._oracle.promises()):
                self._do_job(self._work.opening(slot, promise))

    def _check_nothing_else_stays(self) -> None:
        async def left() -> list[str]:
            chain = chain_on(self._store, 0, TINY, 1)
            kept = [await kept_by(chain, engine, self._oracle.shown(engine)) for engine in self._work.engines]
            found = []
            async for entry in self._store.list_objects():
                place = split(entry.key)
                if place is None or TENANT_SCOPE_TAG.hex() in place[0] or entry.key.startswith(sum(kept, ())):
                    continue
                if is_object(place[1]) or is_record(place[1]):
                    found.append(entry.key)
            return found

        found = self._loop.run_until_complete(left())
        if found:
            raise BrokenPromiseError(f"nobody needs it, and no sweep takes it: {found}")
