"""What a failure says: details, messages, stack traces."""

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, TerminatedError

from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.path import END, START, Handles, PayloadPath, gives_back
from tests.integrations.temporal.paths.site import Site
from tests.integrations.temporal.paths.values import CANARY, large

_DETAILS = "failure.application_failure_info.details"


async def _workflow(site: Site) -> Handles:
    data = large("failing workflow")
    handle = await site.start(flows.Fail.run, data)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, list(cause.details)) == (f"{CANARY} in a message", [data])
    assert cause.failure is not None
    assert "flows.py" in cause.failure.stack_trace
    return [handle]


async def _retried_workflow(site: Site) -> Handles:
    """The next run is told of the failure of the last one."""
    data = large("retried workflow")
    retry = RetryPolicy(initial_interval=flows.MOMENT, maximum_attempts=2)
    handle = await site.start(flows.FailOnce.run, data, retry_policy=retry)
    assert await handle.result() == data
    return [site.run(handle.id, handle.first_execution_run_id), site.run(handle.id)]


async def _fault(site: Site) -> Handles:
    """Of a workflow task that fails only the message and the stack trace are journaled."""
    data = large("fault")
    handle = await site.start(flows.Stumble.run, data)
    assert await handle.result() == data
    return [handle]


async def _terminated(site: Site) -> Handles:
    """The details are sealed. The reason is text that the server shows: it is never covered."""
    handle = await site.start(flows.Mailbox.run, 1)
    await handle.terminate(large("terminated"), reason="as the test wants")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert list(caught.value.cause.details) == [large("terminated")]
    return [handle]


FAILURES = [
    PayloadPath(
        "failing activity",
        gives_back(flows.ByFailingActivity.run),
        {START, "ActivityTaskScheduled input", f"ActivityTaskFailed {_DETAILS}", END},
    ),
    PayloadPath("failing workflow", _workflow, {START, f"WorkflowExecutionFailed {_DETAILS}"}),
    PayloadPath(
        "failing child workflow",
        gives_back(flows.ByFailingChild.run, child=True),
        {
            START,
            "StartChildWorkflowExecutionInitiated input",
            f"WorkflowExecutionFailed {_DETAILS}",
            f"ChildWorkflowExecutionFailed {_DETAILS}",
            END,
        },
    ),
    PayloadPath(
        "failure that is retried",
        _retried_workflow,
        {
            START,
            f"WorkflowExecutionFailed {_DETAILS}",
            f"WorkflowExecutionStarted continued_{_DETAILS}",
            END,
        },
    ),
    PayloadPath(
        "fault in workflow code", _fault, {START, "WorkflowTaskFailed failure.encoded_attributes", END}
    ),
    PayloadPath("termination", _terminated, {"WorkflowExecutionTerminated details"}),
]
