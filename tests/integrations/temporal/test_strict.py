"""A client or worker without a key, on the real server: what it writes in the clear is not believed where that was said.

That all honest paths work with the same strict chain is what ``test_paths.py`` shows.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError
from temporalio.worker import Worker

from coatcheck import Chain, ConfigError, Encrypt, IntegrityError, Keyring, MemoryStore, Scope
from coatcheck.integrations.temporal import ClaimCheckCodec, ClaimCheckPlugin, Mode, wrap_data_converter
from coatcheck.integrations.temporal.native import ClaimCheckDriver
from coatcheck.server.payloads import PayloadDesk, Reach
from coatcheck.server.placeholders import Unopened
from tests.chains import KEY
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.activities import MEETINGS, announced
from tests.integrations.temporal.paths.site import Site, chain_on, new_id, site
from tests.integrations.temporal.task_failures import task_failure

REFUSED = "is in the clear, and this chain accepts only sealed payloads"
SOON = timedelta(seconds=5)


@pytest.fixture(params=["codec", "native"])
async def at(request: pytest.FixtureRequest, temporal_server: TemporalServer) -> AsyncIterator[Site]:
    mode: Mode = request.param
    async with site(temporal_server, mode) as new:
        yield new


async def refused(at: Site, workflow_id: str) -> None:
    """The run goes no further, and says why; it is ended here."""
    assert REFUSED in await task_failure(workflow_id, at.client)
    await at.plain.get_workflow_handle(workflow_id).terminate()


async def begun_in_the_clear(at: Site, workflow: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    return await at.plain.start_workflow(
        workflow, args=args, id=new_id(workflow), task_queue=at.queue, **options
    )


async def test_a_workflow_that_is_started_in_the_clear_does_not_begin(at: Site) -> None:
    handle = await begun_in_the_clear(at, flows.ByActivity.run, "forged")
    await refused(at, handle.id)


async def test_a_signal_in_the_clear_is_not_acted_on(at: Site) -> None:
    handle = await at.start(flows.Mailbox.run, 1)
    await at.plain.get_workflow_handle(handle.id).signal(flows.Mailbox.put, "approved")
    await refused(at, handle.id)


async def test_a_start_with_a_signal_in_the_clear_is_not_acted_on(at: Site) -> None:
    handle = await begun_in_the_clear(
        at, flows.Mailbox.run, 1, start_signal="put", start_signal_args=["approved"]
    )
    await refused(at, handle.id)


async def test_an_update_in_the_clear_changes_nothing(at: Site) -> None:
    handle = await at.start(flows.Mailbox.run, 1)
    update = asyncio.ensure_future(
        at.plain.get_workflow_handle(handle.id).execute_update(
            flows.Mailbox.change, "forged", rpc_timeout=SOON
        )
    )
    await refused(at, handle.id)
    with pytest.raises(RPCError):
        await update


async def test_a_query_in_the_clear_is_not_answered(at: Site) -> None:
    handle = await at.start(flows.Mailbox.run, 1)
    with pytest.raises((RPCError, WorkflowQueryFailedError)):
        await at.plain.get_workflow_handle(handle.id).query(flows.Mailbox.look, "forged", rpc_timeout=SOON)
    await handle.signal(flows.Mailbox.put, "honest")
    assert await handle.result() == ["honest"]


async def test_a_result_that_somebody_hands_in_in_the_clear_is_not_believed(at: Site) -> None:
    handle = await at.start(flows.ByCompletion.run)
    meeting = MEETINGS[handle.id]
    await meeting.arrived.wait()
    await at.plain.get_async_activity_handle(task_token=meeting.token).complete("forged")
    await refused(at, handle.id)


@activity.defn(name="charge")
async def made_up_result() -> str:
    return "forged"


@activity.defn(name="charge")
async def made_up_failure() -> str:
    raise ApplicationError("refused", {"code": "forged"}, non_retryable=True)


@pytest.mark.parametrize(
    ("forged", "failure_converter"),
    [
        (made_up_result, DefaultFailureConverter),
        (made_up_failure, DefaultFailureConverter),
        (made_up_failure, DefaultFailureConverterWithEncodedAttributes),
    ],
    ids=["result", "details", "encoded attributes"],
)
async def test_a_worker_without_a_key_answers_nobody(
    at: Site, forged: Callable[..., Any], failure_converter: type[FailureConverter]
) -> None:
    queue = f"keyless-{uuid.uuid4()}"
    keyless = await Client.connect(
        at.server.address, data_converter=DataConverter(failure_converter_class=failure_converter)
    )
    async with Worker(keyless, task_queue=queue, activities=[forged]):
        handle = await at.start(flows.Elsewhere.run, "charge", queue)
        await refused(at, handle.id)


async def test_a_memo_in_the_clear_is_not_read(at: Site) -> None:
    handle = await begun_in_the_clear(at, flows.Echo.run, "x", memo={"note": "forged"})
    described = await at.run(handle.id).describe()
    with pytest.raises(IntegrityError, match=REFUSED):
        await described.memo()
    await handle.terminate()


async def test_what_the_sdk_and_the_server_write_themselves_is_taken(at: Site) -> None:
    """Nothing given and nothing returned, markers, a cancellation: what of it is a payload passes no codec."""
    handle = await at.start(flows.Nothing.run)
    assert await handle.result() is None
    waiting = await at.start(flows.Mailbox.run, 1)
    await waiting.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await waiting.result()
    assert isinstance(caught.value.cause, CancelledError)


async def test_search_attributes_of_schedules_are_taken(at: Site) -> None:
    """They never pass a codec, and reach the workflow that the schedule starts."""
    attribute = SearchAttributeKey.for_keyword("CoatcheckStrict")
    with suppress(RPCError):  # the other mode made it
        await at.plain.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=at.server.namespace,
                search_attributes={attribute.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
            )
        )
    attributes = TypedSearchAttributes([SearchAttributePair(attribute, "readable")])
    name = f"strict-{uuid.uuid4()}"
    action = ScheduleActionStartWorkflow(
        flows.Announce.run,
        "data",
        id=name,
        task_queue=at.queue,
        memo={"note": "x"},
        typed_search_attributes=attributes,
    )
    schedule = await at.client.create_schedule(
        name, Schedule(action=action, spec=ScheduleSpec()), search_attributes=attributes, memo={"note": "x"}
    )
    await schedule.trigger()
    started = at.run(await asyncio.wait_for(announced().get(), 60))
    assert await started.result() == ["data", "x"]
    described = await schedule.describe()
    assert described.typed_search_attributes[attribute] == "readable"
    assert await described.memo_value("note") == "x"
    assert (await started.describe()).typed_search_attributes[attribute] == "readable"
    await schedule.delete()


@pytest.mark.parametrize("keep_references", [False, True])
async def test_the_codec_server_shows_nothing_that_nobody_sealed(*, keep_references: bool) -> None:
    desk = PayloadDesk(chain_on(MemoryStore()), download_over=2**20, max_response=2**20)
    forged = Payload(metadata={"encoding": b"json/plain"}, data=b'"made up"')
    until = asyncio.get_running_loop().time() + SOON.total_seconds()
    [sealed] = await desk.encode([forged], "default").carry_out(until)
    assert isinstance(sealed, Payload)
    plan = desk.decode([forged, sealed], Reach("default"), keep_references=keep_references)
    unopened, opened = await plan.carry_out(until)
    assert opened == forged
    assert isinstance(unopened, Unopened)
    assert REFUSED in unopened.reason
    shown = unopened.placeholder("request")
    assert b"made up" not in shown.data
    assert b"never sealed" in shown.data


def test_readers_of_other_formats_do_not_go_with_a_strict_chain() -> None:
    chain = Chain(Encrypt(Keyring(KEY), accept_plain=False))
    for build in (
        lambda: wrap_data_converter(DataConverter.default, chain, read_also=[ClaimCheckDriver()]),
        lambda: ClaimCheckCodec(chain, Scope("t"), read_also=[ClaimCheckCodec(Chain(), Scope("t"))]),
    ):
        with pytest.raises(ConfigError, match="reads unauthenticated payloads"):
            build()
    assert ClaimCheckPlugin(chain)
