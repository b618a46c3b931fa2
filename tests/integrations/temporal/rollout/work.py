"""What is in flight while coatcheck is rolled out."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

SOON = timedelta(seconds=30)


@activity.defn
async def turned(data: str) -> str:
    """Give it back from its end to its beginning."""
    activity.heartbeat(data)
    return data[::-1]


@workflow.defn
class Turn:
    """Turns its input round, as a child."""

    @workflow.run
    async def run(self, data: str) -> str:
        return await workflow.execute_local_activity(turned, data, start_to_close_timeout=SOON)


@workflow.defn
class InFlight:
    """Takes a step for each update, until it is told to finish."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.finished = False

    @workflow.update
    async def say(self, data: str) -> str:
        there = await workflow.execute_activity(turned, data, start_to_close_timeout=SOON)
        back = await workflow.execute_child_workflow(
            Turn.run, there, id=f"{workflow.info().workflow_id}-{len(self.said)}"
        )
        self.said.append(back)
        return back

    @workflow.query
    def last(self) -> str:
        return self.said[-1]

    @workflow.signal
    def finish(self) -> None:
        self.finished = True

    @workflow.run
    async def run(self, data: str) -> list[str]:
        self.said.append(await workflow.execute_activity(turned, data, start_to_close_timeout=SOON))
        await workflow.wait_condition(lambda: self.finished and workflow.all_handlers_finished())
        return self.said


@workflow.defn
class Diary:
    """Goes on where the last one of its schedule ended."""

    @workflow.run
    async def run(self, text: str) -> str:
        return str(workflow.get_last_completion_result(str) or "") + text


@workflow.defn
class Knock:
    """Signals another workflow, and fails."""

    @workflow.run
    async def run(self, workflow_id: str) -> None:
        await workflow.get_external_workflow_handle_for(InFlight.run, workflow_id).signal(InFlight.finish)
        raise ApplicationError(workflow_id, non_retryable=True)


WORKFLOWS = [InFlight, Turn, Diary, Knock]
ACTIVITIES: list[Callable[..., Any]] = [turned]
