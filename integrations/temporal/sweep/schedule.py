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

from coatcheck.errors import ConfigError
from coatcheck.integrations.temporal.codec import ClaimCheckCodec
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
        client: Of the namespace that the sweep is to run in, without the plug-in. Which namespaces are swept stands in the
            options.
        options: For each sweep.
        schedule_id: Of the schedule, and the beginning of the workflows' IDs.
        task_queue: That of the worker.
        every: A day suits: the first sweep marks, the first one after the grace deletes.

    Raises:
        ConfigError: The client has the plug-in.
        ScheduleAlreadyRunningError: There is one with this ID; change it by its handle.
    """
    check_client(client)
    action = ScheduleActionStartWorkflow(SweepWorkflow.run, options, id=schedule_id, task_queue=task_queue)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
    return await client.create_schedule(schedule_id, Schedule(action=action, spec=spec))


def check_client(client: Client) -> None:
    """See that a sweep's own figures are not sealed: they would be collected with the rest.

    A schedule hands each run the result of the last one, which was sealed for another run and cannot be opened.

    Raises:
        ConfigError: They would be.
    """
    if isinstance(client.data_converter.payload_codec, ClaimCheckCodec):
        raise ConfigError(
            "the sweep's client has ClaimCheckPlugin, and its own figures would be sealed",
            "Connect one without the plug-in.",
        )
