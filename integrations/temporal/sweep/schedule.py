"""Sweeping every day."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleSpec,
)

from coatcheck.integrations.temporal.sweep.options import TASK_QUEUE, SweepOptions
from coatcheck.integrations.temporal.sweep.workflow import SweepWorkflow


async def create_schedule(
    client: Client,
    options: SweepOptions,
    *,
    schedule_id: str = "coatcheck-sweep",
    task_queue: str = TASK_QUEUE,
    every: timedelta = timedelta(days=1),
) -> ScheduleHandle:
    """Create a schedule that starts :class:`SweepWorkflow` regularly; while one runs, no other is started.

    Args:
        client: Client of the namespace in which the sweep runs. The options name the namespaces that are swept.
        options: Options of each sweep.
        schedule_id: ID of the schedule, and the prefix of the workflows' IDs.
        task_queue: Task queue of the worker.
        every: Interval. A day suits: the first sweep marks, the first one after the grace deletes.

    Raises:
        ScheduleAlreadyRunningError: There is one with this ID; change it by its handle.
    """
    action = ScheduleActionStartWorkflow(SweepWorkflow.run, options, id=schedule_id, task_queue=task_queue)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
    return await client.create_schedule(schedule_id, Schedule(action=action, spec=spec))
