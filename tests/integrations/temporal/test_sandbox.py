"""Nothing of ours computes inside the workflow sandbox: shown in processes that have done nothing yet."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.fresh import OLDEST_CRYPTOGRAPHY, Fresh
from tests.integrations.temporal.rollout.steps import plugins_of
from tests.integrations.temporal.rollout.work import ACTIVITIES, WORKFLOWS, InFlight, Knock
from tests.integrations.temporal.workflows import text

MAY_RUN = {
    "errors.py readable_error",
    "integrations/temporal/failures.py ClaimCheckFailureConverter.to_failure",
    "integrations/temporal/sandbox.py _Inbound.execute_workflow",
    "integrations/temporal/sandbox.py _Inbound.handle_query",
    "integrations/temporal/sandbox.py _Inbound.init",
    "integrations/temporal/sandbox.py _Outbound.signal_external_workflow",
    "integrations/temporal/sandbox.py _Outbound.start_child_workflow",
    "integrations/temporal/sandbox.py _note",
    "integrations/temporal/sandbox.py _note_replay",
}
"""All that may. It asks the SDK, and appends to a queue; no module of ours is imported in there."""
LARGE = 6_000


async def began_plainly(server: TemporalServer, queue: str) -> tuple[Client, str]:
    """A run that a worker without the chain has begun, and that waits."""
    client = await Client.connect(server.address)
    handle = await client.start_workflow(
        InFlight.run, text(LARGE, "input"), id=f"plain-{uuid4()}", task_queue=queue
    )
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        await handle.execute_update(InFlight.say, text(LARGE, "before"))
    return client, handle.id


@pytest.mark.parametrize("step", ["decode only", "native"])
async def test_a_fresh_worker_computed_inside_the_sandbox(
    temporal_server: TemporalServer, tmp_path: Path, step: str
) -> None:
    queue = f"watched-{uuid4()}"
    _, workflow_id = await began_plainly(temporal_server, queue)
    folder, output = tmp_path / "store", tmp_path / "called"
    client = await Client.connect(temporal_server.address, plugins=plugins_of(step, folder))
    handle = client.get_workflow_handle(workflow_id)
    async with Fresh().running(
        "tests.integrations.temporal.rollout.watched_worker",
        str(output),
        temporal_server.address,
        queue,
        str(folder),
        step,
    ):
        data = text(LARGE, "after")
        assert await handle.execute_update(InFlight.say, data) == data
        assert await handle.query(InFlight.last) == data
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Knock.run, workflow_id, id=f"knock-{uuid4()}", task_queue=queue)
        await handle.result()
    called = set(json.loads(output.read_text()))
    assert called <= MAY_RUN
    assert "integrations/temporal/sandbox.py _note" in called


@pytest.mark.parametrize(
    ("step", "packages"),
    [("decode only", ()), ("full", ()), ("native", ()), ("full", (OLDEST_CRYPTOGRAPHY,))],
    ids=["decode only", "full", "native", "oldest cryptography"],
)
async def test_a_replay_of_a_plain_history_failed_in_a_fresh_process(
    temporal_server: TemporalServer, tmp_path: Path, packages: tuple[str, ...], step: str
) -> None:
    client, workflow_id = await began_plainly(temporal_server, f"replayed-{uuid4()}")
    handle = client.get_workflow_handle(workflow_id)
    history = tmp_path / "history.json"
    history.write_text((await handle.fetch_history()).to_json())
    await handle.terminate()
    replay = "tests.integrations.temporal.rollout.replay"
    arguments = (str(tmp_path / "store"), step, workflow_id, str(history))
    assert await Fresh(packages).run(replay, *arguments) is None
