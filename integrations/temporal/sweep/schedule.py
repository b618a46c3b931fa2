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
    """Have the server start :class:`SweepWorkflow` again and again; while one runs, no other is started.

    Args:
        client: Of the namespace that the sweep is to run in. Which namespaces are swept stands in the options.
        options: For each sweep.
        schedule_id: Of the schedule, and the beginning of the workflows' IDs.
        task_queue: That of the worker.
        every: A day suits: the first sweep marks, the first one after the grace deletes.

    Raises:
        ScheduleAlreadyRunningError: There is one with this ID; change it by its handle.
    """
    action = ScheduleActionStartWorkflow(SweepWorkflow.run, options, id=schedule_id, task_queue=task_queue)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
    return await client.create_schedule(schedule_id, Schedule(action=action, spec=spec))
