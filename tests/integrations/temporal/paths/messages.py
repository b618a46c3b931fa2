"""What reaches a workflow while it runs."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.converter import WorkflowSerializationContext
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.path import END, Handles, PayloadPath, is_large
from tests.integrations.temporal.paths.site import Site, new_id
from tests.integrations.temporal.paths.values import CANARY, large

_SIGNAL = "WorkflowExecutionSignaled input"
_UPDATE = "WorkflowExecutionUpdateAccepted accepted_request.input.args"
_OUTCOME = "WorkflowExecutionUpdateCompleted outcome"


async def _signal(site: Site) -> Handles:
    data = large("signal")
    handle = await site.start(flows.Mailbox.run, 1)
    await handle.signal(flows.Mailbox.put, data)
    assert await handle.result() == [data]
    return [handle]


async def _signal_with_start(site: Site) -> Handles:
    data = large("signal with start")
    handle = await site.start(flows.Mailbox.run, 1, start_signal="put", start_signal_args=[data])
    assert await handle.result() == [data]
    return [handle]


async def _signal_from_workflow(site: Site) -> Handles:
    """Sealed for the one that gets it, also where the sender's history has it."""
    data = large("signal from a workflow")
    receiver = await site.start(flows.Mailbox.run, 1)
    sender = await site.start(flows.Send.run, receiver.id, data)
    await sender.result()
    assert await receiver.result() == [data]
    return [receiver, sender]


async def _query(site: Site) -> Handles:
    """A query leaves nothing in the history, so what is looked at is what the server answers."""
    data = large("query")
    handle = await site.start(flows.Mailbox.run, 1)
    await handle.signal(flows.Mailbox.put, data)
    assert await handle.query(flows.Mailbox.look, data) == [data, data]
    answer = await _ask_plainly(site, handle, "look", data)
    (payload,) = answer.payloads
    assert is_large(payload, site)
    return [handle]


async def _failing_query(site: Site) -> Handles:
    """Of a failed query the server passes on no more than the message."""
    handle = await site.start(flows.Mailbox.run, 0)
    with pytest.raises(WorkflowQueryFailedError):
        await handle.query(flows.Mailbox.stumble, large("failing query"))
    with pytest.raises(RPCError) as caught:
        await _ask_plainly(site, handle, "stumble", large("failing query"))
    assert CANARY not in caught.value.message
    assert CANARY.encode() not in caught.value.raw_grpc_status
    return [handle]


async def _ask_plainly(site: Site, handle: WorkflowHandle[Any, Any], query: str, data: str) -> Payloads:
    """Ask with sealed arguments, and take what the server says as it is."""
    context = WorkflowSerializationContext(site.client.namespace, handle.id)
    arguments = await site.client.data_converter.with_context(context).encode([data])
    request = QueryWorkflowRequest(
        namespace=site.client.namespace,
        execution=WorkflowExecution(workflow_id=handle.id),
        query=WorkflowQuery(query_type=query, query_args=Payloads(payloads=arguments)),
    )
    return (await site.plain.workflow_service.query_workflow(request)).query_result


async def _update(site: Site) -> Handles:
    data = large("update")
    handle = await site.start(flows.Mailbox.run, 1)
    assert await handle.execute_update(flows.Mailbox.change, data) == data
    assert await handle.result() == [data]
    return [handle]


async def _update_with_start(site: Site) -> Handles:
    data = large("update with start")
    start = WithStartWorkflowOperation(
        flows.Mailbox.run,
        1,
        id=new_id(flows.Mailbox.run),
        task_queue=site.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    answer = await site.client.execute_update_with_start_workflow(
        flows.Mailbox.change, data, start_workflow_operation=start
    )
    assert answer == data
    handle = await start.workflow_handle()
    assert await handle.result() == [data]
    return [handle]


async def _rejected_update(site: Site) -> Handles:
    """It leaves nothing in the history: neither what was refused nor why."""
    data = f"refuse {large('rejected update')}"
    handle = await site.start(flows.Mailbox.run, 1)
    await _expect_failure(handle, data)
    await handle.signal(flows.Mailbox.put, "done")
    await handle.result()
    return [handle]


async def _failing_update(site: Site) -> Handles:
    data = f"fail {large('failing update')}"
    handle = await site.start(flows.Mailbox.run, 1)
    await _expect_failure(handle, data)
    await handle.signal(flows.Mailbox.put, "done")
    await handle.result()
    return [handle]


async def _expect_failure(handle: WorkflowHandle[Any, Any], data: str) -> None:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update(flows.Mailbox.change, data)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.message == f"{CANARY} in a message"
    assert list(caught.value.cause.details) == [data]


MESSAGES = [
    PayloadPath("signal", _signal, {_SIGNAL, END}),
    PayloadPath("signal with start", _signal_with_start, {_SIGNAL, END}),
    PayloadPath(
        "signal from a workflow",
        _signal_from_workflow,
        {
            "WorkflowExecutionStarted input[1]",
            "SignalExternalWorkflowExecutionInitiated input",
            _SIGNAL,
            END,
        },
    ),
    PayloadPath("query", _query, {_SIGNAL, END}),
    PayloadPath("query that fails", _failing_query),
    PayloadPath("update", _update, {_UPDATE, f"{_OUTCOME}.success", END}),
    PayloadPath("update with start", _update_with_start, {_UPDATE, f"{_OUTCOME}.success", END}),
    PayloadPath("update that is rejected", _rejected_update),
    PayloadPath(
        "update that fails",
        _failing_update,
        {_UPDATE, f"{_OUTCOME}.failure.application_failure_info.details"},
    ),
]
