"""What coatcheck itself says can be read without a key; everything else that fails stays sealed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, StoreUnavailable, Zstd
from coatcheck.errors import readable_error
from coatcheck.integrations.temporal import ClaimCheckPlugin
from tests.chains import KEY, OTHER_KEY
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.everything import ACTIVITIES, WORKFLOWS, chain_in, connect
from tests.integrations.temporal.task_failures import task_failure
from tests.integrations.temporal.workflows import ONCE, SECOND, Echo

SECRET = "SECRET-OF-A-CUSTOMER"


@pytest.fixture
async def plain(temporal_server: TemporalServer) -> Client:
    return await Client.connect(temporal_server.address)


async def raw(plain: Client, workflow_id: str) -> bytes:
    history = await plain.get_workflow_handle(workflow_id).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def test_a_worker_with_a_wrong_key_sealed_that_it_is_wrong_under_that_key(
    temporal_server: TemporalServer, plain: Client, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"wrong-key-{uuid4()}"
    handle = await client.start_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
    wrong = await connect(temporal_server, Chain(Encrypt(Keyring(OTHER_KEY))))
    async with Worker(wrong, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        for reader in (plain, client):
            said = await task_failure(workflow_id, reader)
            assert KEY.id.hex() in said
            assert "Encoded failure" not in said
    await handle.terminate()


@workflow.defn
class Elsewhere:
    """Has its activity done by another worker."""

    @workflow.run
    async def run(self, queue: str) -> str:
        answer: str = await workflow.execute_activity(
            "echo", queue, task_queue=queue, start_to_close_timeout=SECOND, retry_policy=ONCE
        )
        return answer


async def test_a_failure_of_an_activity_worker_with_a_wrong_key_could_not_be_opened(
    temporal_server: TemporalServer, plain: Client, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    wrong = await connect(temporal_server, Chain(Encrypt(Keyring(OTHER_KEY))))
    queue = workflow_id = f"wrong-key-{uuid4()}"
    async with (
        Worker(client, task_queue=queue, workflows=[Elsewhere]),
        Worker(wrong, task_queue=f"{queue}-activities", activities=ACTIVITIES),
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                Elsewhere.run, f"{queue}-activities", id=workflow_id, task_queue=queue
            )
    failed = caught.value.cause.__cause__
    assert failed is not None
    assert "Failed decoding arguments" in str(failed)
    assert KEY.id.hex() in str(failed.__cause__)
    assert KEY.id.hex().encode() in await raw(plain, workflow_id)


async def test_a_replayer_with_a_wrong_key_said_encoded_failure(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"replayed-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        await client.execute_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    plugin = ClaimCheckPlugin(Chain(Encrypt(Keyring(OTHER_KEY))))
    replayer = Replayer(workflows=WORKFLOWS, plugins=[plugin])
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    assert KEY.id.hex() in str(result.replay_failure)
    assert "Encoded failure" not in str(result.replay_failure)


@workflow.defn(name="Echo")
class Forgetful:
    """What the workflow became, and what a replay has to complain about."""

    @workflow.run
    async def run(self, data: str) -> str:
        raise RuntimeError(f"not the same as before: {data}")


async def test_a_replayer_said_encoded_failure_of_a_fault_in_workflow_code(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    client = await connect(temporal_server, chain_in(tmp_path))
    queue = workflow_id = f"replayed-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        await client.execute_workflow(Echo.run, "x", id=workflow_id, task_queue=queue)
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    replayer = Replayer(workflows=[Forgetful], plugins=[ClaimCheckPlugin(chain_in(tmp_path))])
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    assert "not the same as before: x" in str(result.replay_failure)


@activity.defn(name="fails")
async def fails_with_ours() -> None:
    """As one does that uses a chain by itself."""
    try:
        int(SECRET)
    except ValueError as error:
        raise StoreUnavailable("the store is down", "Wait for it.", "0123abcd") from error


@activity.defn(name="fails")
async def fails_because_of_ours() -> None:
    try:
        await fails_with_ours()
    except StoreUnavailable as error:
        raise ApplicationError(f"{SECRET}: {error}", SECRET) from error


@activity.defn(name="fails")
async def result_that_is_too_large() -> str:
    return SECRET * 1000


@workflow.defn
class Passes:
    """Fails as its activity did."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("fails", start_to_close_timeout=SECOND, retry_policy=ONCE)


@pytest.mark.parametrize(
    ("fails", "said", "kind"),
    [
        (fails_with_ours, "the store is down [object 0123abcd]. Wait for it.", "StoreUnavailable"),
        (fails_because_of_ours, "the store is down [object 0123abcd]. Wait for it.", "StoreUnavailable"),
        (result_that_is_too_large, "10000 are allowed", "LimitExceeded"),
    ],
)
async def test_messages_of_ours_and_nothing_else_are_in_the_clear(
    temporal_server: TemporalServer, plain: Client, fails: Callable[..., Any], said: str, kind: str
) -> None:
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(MemoryStore()), max_payload=10_000)
    client = await connect(temporal_server, chain)
    queue = workflow_id = f"ours-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Passes], activities=[fails]):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Passes.run, id=workflow_id, task_queue=queue)
    history = await plain.get_workflow_handle(workflow_id).fetch_history()
    failures = [
        failure
        for event in history.events
        for failure in (
            event.activity_task_failed_event_attributes.failure,
            event.workflow_execution_failed_event_attributes.failure.cause,
        )
        if event.event_type
        in {EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED}
        and failure.message
    ]
    assert len(failures) == 2
    for failure in failures:
        ours = failure.cause if failure.HasField("cause") else failure
        assert said in ours.message
        assert ours.application_failure_info.type == kind
        assert not ours.HasField("encoded_attributes")
        assert not ours.stack_trace
    found = await raw(plain, workflow_id)
    assert SECRET.encode() not in found
    assert b"fails_with_ours" not in found


async def test_an_error_of_ours_says_no_more_than_its_own_message() -> None:
    ours = StoreUnavailable("down")
    same = ApplicationError(str(ours), type="StoreUnavailable")
    same.__cause__ = ours
    other = ApplicationError(f"{SECRET} {ours}")
    other.__cause__ = ours
    assert readable_error(ours) is ours
    assert readable_error(same) is ours
    assert readable_error(other) is None
    assert readable_error(ValueError(SECRET)) is None
