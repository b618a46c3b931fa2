"""Every path that a payload takes through Temporal, with large payloads, in both modes, on the real server."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from coatcheck import MemoryStore
from coatcheck.integrations.temporal import Mode
from tests.chains import keys_in
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.calls import CALLS
from tests.integrations.temporal.paths.failures import FAILURES
from tests.integrations.temporal.paths.labels import LABELS
from tests.integrations.temporal.paths.lives import LIVES
from tests.integrations.temporal.paths.messages import MESSAGES
from tests.integrations.temporal.paths.nexus import (
    NEXUS,
    call,
    messages,
    new_endpoint,
    new_namespace,
    refusal,
)
from tests.integrations.temporal.paths.path import PayloadPath, look_at, requests_of_replay
from tests.integrations.temporal.paths.site import Site, site
from tests.integrations.temporal.paths.values import CANARY, large
from tests.integrations.temporal.task_failures import task_failure

MODES: tuple[Mode, ...] = ("codec", "native")
PATHS = [*CALLS, *MESSAGES, *FAILURES, *LABELS, *LIVES, *NEXUS]
SMALL = 1024
"""Bytes: no payload in a history may have more."""

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "temporal-paths.md"
REFUSAL = "written for another tenant"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=MODES)
async def at(request: pytest.FixtureRequest, temporal_server: TemporalServer) -> AsyncIterator[Site]:
    async with site(temporal_server, request.param) as new:
        yield new


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def payments(temporal_server: TemporalServer) -> TemporalServer:
    return await new_namespace(temporal_server)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
async def test_large_payloads_on(path: PayloadPath, at: Site) -> None:
    async with AsyncExitStack() as stack:
        if path.options:
            at = await stack.enter_async_context(site(at.server, at.mode, **path.options))
        await walk(path, at)


async def walk(path: PayloadPath, at: Site) -> None:
    runs = await path.walk(at)
    histories = [
        await at.plain.get_workflow_handle(run.id, run_id=run.run_id).fetch_history() for run in runs
    ]
    seen = look_at(histories, at)
    assert seen.large == path.large
    assert seen.clear == path.clear
    assert seen.largest <= SMALL
    assert CANARY.encode() not in seen.raw
    objects = await keys_in(at.store)
    offered = [(await requests_of_replay(at, history))["puts"] for history in histories]
    assert sum(offered) == path.offers
    assert await keys_in(at.store) == objects


async def test_the_documentation_has_a_line_for_each_path() -> None:
    lines = DOCUMENTATION.read_text().splitlines()
    named = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert named[1:] == [path.name for path in PATHS]


@pytest.mark.parametrize("mode", MODES)
async def test_nexus_across_namespaces_that_name_each_other(
    temporal_server: TemporalServer, payments: TemporalServer, mode: Mode
) -> None:
    """With one store and the same keys. Each side seals for itself and opens what the other one sealed."""
    store = MemoryStore()
    async with (
        site(temporal_server, mode, store=store, nexus_namespaces=[payments.namespace]) as caller,
        site(payments, mode, store=store, nexus_namespaces=[temporal_server.namespace]) as handler,
    ):
        endpoint = await new_endpoint(caller.plain, payments.namespace, handler.queue)
        for operation in ("at_once", "by_workflow", "fail_at_once", "fail_by_workflow"):
            run = await call(caller, endpoint, operation)
            history = await caller.plain.get_workflow_handle(run.id).fetch_history()
            seen = look_at([history], caller)
            assert "NexusOperationScheduled input" in seen.large
            assert not seen.clear
            assert CANARY.encode() not in seen.raw


async def test_nexus_across_namespaces_is_refused_by_a_handler_that_does_not_name_the_caller(
    temporal_server: TemporalServer, payments: TemporalServer
) -> None:
    store = MemoryStore()
    async with (
        site(temporal_server, "codec", store=store, nexus_namespaces=[payments.namespace]) as caller,
        site(payments, "codec", store=store) as handler,
    ):
        endpoint = await new_endpoint(caller.plain, payments.namespace, handler.queue)
        handle = await caller.start(flows.Call.run, endpoint, "at_once", large("refused by the handler"))
        failure = await refusal(caller, handle)
        assert REFUSAL in "".join(messages(await handler.client.data_converter.decode_failure(failure)))
        await handle.terminate()


async def test_nexus_across_namespaces_is_refused_by_a_caller_that_does_not_name_the_handler(
    temporal_server: TemporalServer, payments: TemporalServer
) -> None:
    store = MemoryStore()
    async with (
        site(temporal_server, "codec", store=store) as caller,
        site(payments, "codec", store=store, nexus_namespaces=[temporal_server.namespace]) as handler,
    ):
        endpoint = await new_endpoint(caller.plain, payments.namespace, handler.queue)
        handle = await caller.start(flows.Call.run, endpoint, "at_once", large("refused by the caller"))
        assert REFUSAL in await task_failure(handle.id, caller.client)
        await handle.terminate()
