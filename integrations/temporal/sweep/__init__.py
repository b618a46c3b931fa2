"""The sweep as a workflow, so that it runs on the engine that its users operate anyway.

.. code-block:: python

    client = await Client.connect("localhost:7233")  # without ClaimCheckPlugin
    activities = SweepActivities(chain, client).all
    worker = Worker(client, task_queue=TASK_QUEUE, workflows=[SweepWorkflow], activities=activities)
    await create_schedule(client, SweepOptions(namespaces=["default"], delete=True))  # once

``docs/temporal-paths.md`` says how it goes about it.
"""

from coatcheck.integrations.temporal.sweep.activities import SweepActivities
from coatcheck.integrations.temporal.sweep.options import TASK_QUEUE, SweepOptions
from coatcheck.integrations.temporal.sweep.schedule import create_schedule
from coatcheck.integrations.temporal.sweep.workflow import SweepWorkflow

__all__ = ["TASK_QUEUE", "SweepActivities", "SweepOptions", "SweepWorkflow", "create_schedule"]
