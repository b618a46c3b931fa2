"""What a workflow is given, gives, and has others do."""

from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.activities import MEETINGS
from tests.integrations.temporal.paths.path import END, START, Handles, PayloadPath, gives_back, is_large
from tests.integrations.temporal.paths.site import Site
from tests.integrations.temporal.paths.values import CANARY, large

_CALL = "ActivityTaskScheduled input"
_ANSWER = "ActivityTaskCompleted result"


async def _heartbeat(site: Site) -> Handles:
    """The history never has them: the server keeps the last ones with the activity while it is pending."""
    data = large("heartbeat")
    handle = await site.start(flows.ByHeartbeat.run, data)
    await MEETINGS[handle.id].arrived.wait()
    description = await site.plain.get_workflow_handle(handle.id).describe()
    (pending,) = description.raw_description.pending_activities
    (sent,) = pending.heartbeat_details.payloads
    assert is_large(sent, site)
    assert CANARY.encode() not in pending.SerializeToString()
    MEETINGS[handle.id].leave.set()
    assert await handle.result() == data
    return [handle]


async def _complete_by_token(site: Site) -> Handles:
    """A token does not say whose activity it is: the tenant scope."""
    data = large("by token")
    handle = await site.start(flows.ByCompletion.run)
    await MEETINGS[handle.id].arrived.wait()
    activity = site.client.get_async_activity_handle(task_token=MEETINGS[handle.id].token)
    await activity.heartbeat(data)
    await activity.complete(data)
    assert await handle.result() == data
    return [handle]


async def _continue_as_new(site: Site) -> Handles:
    data = large("continue as new")
    handle = await site.start(flows.ContinueAsNew.run, data, True)
    assert await handle.result() == [data, data]
    return [site.run(handle.id, handle.first_execution_run_id), site.run(handle.id)]


CALLS = [
    PayloadPath("input and result", gives_back(flows.Echo.run), {START, END}),
    PayloadPath("activity", gives_back(flows.ByActivity.run), {START, _CALL, _ANSWER, END}),
    PayloadPath(
        "local activity",
        gives_back(flows.ByLocalActivity.run),
        {START, "MarkerRecorded details[result]", END},
        # The SDK's core notes the number of the call and when it ran. No codec is asked.
        clear={"MarkerRecorded details[data]"},
    ),
    PayloadPath("heartbeat details", _heartbeat, {START, _CALL, _ANSWER, END}),
    PayloadPath(
        "heartbeat details in a time-out",
        gives_back(flows.ByLastHeartbeat.run),
        {START, _CALL, "ActivityTaskTimedOut failure.timeout_failure_info.last_heartbeat_details", END},
    ),
    PayloadPath("activity that is completed by token", _complete_by_token, {_ANSWER, END}),
    PayloadPath(
        "child workflow",
        gives_back(flows.ByChild.run, child=True),
        {START, "StartChildWorkflowExecutionInitiated input", END, "ChildWorkflowExecutionCompleted result"},
    ),
    PayloadPath(
        "continue-as-new",
        _continue_as_new,
        {
            "WorkflowExecutionStarted input[0]",
            "WorkflowExecutionContinuedAsNew input[0]",
            "WorkflowExecutionContinuedAsNew memo[note]",
            "WorkflowExecutionStarted memo[note]",
            "WorkflowExecutionCompleted result",
        },
    ),
]
