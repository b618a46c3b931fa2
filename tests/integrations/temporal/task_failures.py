"""Workflow tasks that fail: the workflow goes on waiting, and only its history says why."""

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client


async def task_failure(workflow_id: str, client: Client) -> str:
    """The messages of the first workflow task that fails, with those of its causes."""
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events(wait_new_event=True):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failure = event.workflow_task_failed_event_attributes.failure
            error: BaseException | None = await client.data_converter.decode_failure(failure)
            messages = []
            while error is not None:
                messages.append(str(error))
                error = error.__cause__
            return ": ".join(messages)
    raise AssertionError("no workflow task failed")
