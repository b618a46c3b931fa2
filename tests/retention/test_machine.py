"""Whatever happens, and in whatever order: nothing that a run can reach is deleted, and nothing else stays."""

import os
import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coatcheck.errors import CoatcheckError, LimitExceeded, StoreUnavailable
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference
from coatcheck.storage.prefixes import ScopePrefixes
from tests.retention.sweeping import GRACE, scope_of
from tests.retention.world import Asker, Run, Worker, World

STEPS = int(os.environ.get("COATCHECK_SWEEP_STEPS", "2000"))
STEPS_EACH = 100
WORKFLOWS = ("a", "b")
SPANS = [
    timedelta(minutes=1),
    timedelta(minutes=15),
    timedelta(minutes=50),
    timedelta(hours=3),
    timedelta(days=1),
    GRACE - timedelta(hours=4),
    GRACE + timedelta(hours=1),
]
WOBBLES = [timedelta(), timedelta(minutes=5), timedelta(minutes=-5)]
SKEWS = [timedelta(), timedelta(days=7), timedelta(days=-7)]


def payload(workflow: str, turn: int) -> bytes:
    """Each turn has those before it in it, and all begin alike: they become deltas."""
    source = random.Random(workflow)
    return b"".join(source.randbytes(700) for _ in range(turn + 1))


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.patch = pytest.MonkeyPatch()
        self.world.lead_clocks(self.patch)
        self.workers = [Worker(self.world) for _ in range(2)]
        self.sweepers: list[Asker] = []
        self.prefixes = ScopePrefixes(self.workers[0].chain.sealings)

    def teardown(self) -> None:
        try:
            self.finally_nothing_else_stays()
        finally:
            self.patch.undo()
            self.world.close()

    # What processes do

    async def start(self, worker: Worker, workflow: str, turn: int) -> None:
        data = payload(workflow, turn)
        encoded = await self.encode(worker, workflow, data)
        if encoded is not None:
            run = Run(workflow, self.world.elapsed)
            run.record(encoded, data)
            self.world.runs.append(run)

    async def step(self, worker: Worker, run: Run, turn: int) -> None:
        data = payload(run.workflow, turn)
        encoded = await self.encode(worker, run.workflow, data)
        if encoded is not None:
            run.record(encoded, data)

    async def replay(self, worker: Worker, run: Run) -> None:
        await worker.chain.replaying(scope_of(run.workflow))
        for encoded, data in list(run.journal):
            try:
                opened = await worker.chain.open(encoded, scope_of(run.workflow))
            except CoatcheckError:
                if run in self.world.runs:
                    raise
                return
            assert opened == data
            again = await self.encode(worker, run.workflow, data)
            if again is None:
                return
            run.record(again, data)

    async def encode(self, worker: Worker, workflow: str, data: bytes) -> bytes | None:
        try:
            return await worker.chain.encode(data, scope_of(workflow))
        except StoreUnavailable:
            return None  # being swept: the engine would try again later

    # What happens

    @rule(
        worker=st.integers(0, 1),
        workflow=st.sampled_from(WORKFLOWS),
        turn=st.integers(0, 4),
        now=st.booleans(),
    )
    def a_run_is_started(self, worker: int, workflow: str, turn: int, now: bool) -> None:
        self.begin(self.workers[worker], self.start(self.workers[worker], workflow, turn), now=now)

    @precondition(lambda self: self.world.runs)
    @rule(worker=st.integers(0, 1), which=st.integers(0, 99), turn=st.integers(0, 4), now=st.booleans())
    def a_run_goes_on(self, worker: int, which: int, turn: int, now: bool) -> None:
        self.begin(self.workers[worker], self.step(self.workers[worker], self.run_of(which), turn), now=now)

    @precondition(lambda self: self.world.runs)
    @rule(worker=st.integers(0, 1), which=st.integers(0, 99), now=st.booleans())
    def a_run_is_replayed(self, worker: int, which: int, now: bool) -> None:
        self.begin(self.workers[worker], self.replay(self.workers[worker], self.run_of(which)), now=now)

    @precondition(lambda self: self.world.runs)
    @rule(which=st.integers(0, 99), length=st.integers(1, 5))
    def a_run_is_reset_or_continued(self, which: int, length: int) -> None:
        run = self.run_of(which)
        self.world.runs.append(Run(run.workflow, self.world.elapsed, run.journal[:length]))

    @precondition(lambda self: self.world.runs)
    @rule(which=st.integers(0, 99))
    def a_run_is_deleted(self, which: int) -> None:
        self.world.runs.remove(self.run_of(which))

    @rule(workflow=st.sampled_from(WORKFLOWS))
    def all_runs_of_a_workflow_are_deleted(self, workflow: str) -> None:
        self.world.runs = [run for run in self.world.runs if run.workflow != workflow]

    @rule(worker=st.integers(0, 1), skew=st.sampled_from(SKEWS))
    def a_worker_is_killed(self, worker: int, skew: timedelta) -> None:
        self.workers[worker].kill()
        self.workers[worker] = Worker(self.world, skew)
        self.world.settle()

    @rule(worker=st.integers(0, 1), skew=st.sampled_from(SKEWS))
    def a_calendar_is_set(self, worker: int, skew: timedelta) -> None:
        self.workers[worker].skew = skew

    @rule(now=st.booleans(), skew=st.sampled_from(SKEWS))
    def a_sweep_begins(self, now: bool, skew: timedelta) -> None:
        sweeper = Asker(self.world, skew)
        self.sweepers = [*(one for one in self.sweepers if one.busy), sweeper]
        self.begin(sweeper, self.swept(sweeper), now=now)

    @precondition(lambda self: self.sweepers)
    @rule(which=st.integers(0, 99))
    def a_sweep_is_killed(self, which: int) -> None:
        self.sweepers[which % len(self.sweepers)].kill()
        self.world.settle()

    @precondition(lambda self: self.world.requests)
    @rule(which=st.integers(0, 99), answered=st.booleans())
    def a_request_is_carried_out(self, which: int, answered: bool) -> None:
        request = self.world.requests[which % len(self.world.requests)]
        if answered:
            request.hand_over()
        else:
            request.carry_out()
        self.world.settle()

    @precondition(lambda self: any(sweeper.busy for sweeper in self.sweepers))
    @rule(which=st.integers(0, 99), steps=st.integers(1, 40))
    def a_sweep_goes_on(self, which: int, steps: int) -> None:
        busy = [sweeper for sweeper in self.sweepers if sweeper.busy]
        self.go_on(busy[which % len(busy)], steps)

    @precondition(lambda self: any(worker.busy for worker in self.workers))
    @rule(which=st.integers(0, 99), steps=st.integers(1, 10))
    def a_worker_goes_on(self, which: int, steps: int) -> None:
        busy = [worker for worker in self.workers if worker.busy]
        self.go_on(busy[which % len(busy)], steps)

    @rule(span=st.sampled_from(SPANS), wobble=st.sampled_from(WOBBLES))
    def time_passes(self, span: timedelta, wobble: timedelta) -> None:
        self.world.pass_time(span)
        self.world.wobble = wobble
        for number, worker in enumerate(self.workers):
            if worker.killed:
                self.workers[number] = Worker(self.world)

    @rule(
        workflow=st.sampled_from(WORKFLOWS),
        turns=st.integers(1, 3),
        steps=st.integers(0, 50),
        skew=st.sampled_from(SKEWS),
    )
    def a_workflow_is_about_to_be_deleted(
        self, workflow: str, turns: int, steps: int, skew: timedelta
    ) -> None:
        """Chance alone would rarely come so far: it was written, forgotten by the engine, and marked; and it is due."""
        for turn in range(turns):
            self.begin(self.workers[0], self.start(self.workers[0], workflow, turn), now=True)
        self.all_runs_of_a_workflow_are_deleted(workflow)
        self.time_passes(GRACE + timedelta(hours=1), timedelta())
        self.a_sweep_begins(now=True, skew=skew)
        self.time_passes(GRACE + timedelta(hours=1), timedelta())
        self.a_sweep_begins(now=False, skew=-skew)
        self.go_on(self.sweepers[-1], steps)

    # What holds

    @invariant()
    def what_a_run_can_reach_is_there(self) -> None:
        for failure in self.world.failures:
            raise failure
        for run in self.world.runs:
            for encoded, _ in run.journal:
                assert is_reference(encoded)
                reference = Reference.from_bytes(encoded)
                (prefix,) = self.world.loop.run_until_complete(self.prefixes.of(scope_of(run.workflow)))
                for object_id in (reference.object_id, *reference.bases):
                    assert prefix + object_id.hex() in self.world.objects

    def finally_nothing_else_stays(self) -> None:
        for asker in (*self.workers, *self.sweepers):
            asker.kill()
        self.world.pass_time(timedelta(hours=3))
        for _ in range(3):
            sweeper = Asker(self.world)
            sweeper.begin(self.swept(sweeper))
            self.world.finish(sweeper)
            self.what_a_run_can_reach_is_there()
            self.world.pass_time(GRACE + timedelta(hours=1))
        needed = {
            prefix
            for run in self.world.runs
            for prefix in self.world.loop.run_until_complete(self.prefixes.of(scope_of(run.workflow)))
        }
        left = {key for key in self.world.objects if key.rpartition("/")[0] + "/" not in needed}
        assert not {key for key in left if len(key.rpartition("/")[2]) == 64}

    # Parts

    def begin(self, asker: Asker, work: Any, *, now: bool) -> None:
        asker.begin(work)
        self.world.settle()
        if now:
            self.world.finish(asker)

    def go_on(self, asker: Asker, steps: int) -> None:
        for _ in range(steps):
            mine = [request for request in self.world.requests if request.asker is asker]
            if not mine:
                return
            mine[0].hand_over()
            self.world.settle()

    def run_of(self, which: int) -> Run:
        return self.world.runs[which % len(self.world.runs)]

    async def swept(self, sweeper: Asker) -> None:
        # It took too long, or stood still for more than a day: then another one took its probe for left behind.
        with suppress(LimitExceeded, StoreUnavailable):
            await self.world.sweep(sweeper)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=max(1, STEPS // STEPS_EACH),
    stateful_step_count=STEPS_EACH,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
