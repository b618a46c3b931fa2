"""The workflow: ask the engine, look at every partition, decide on the sums, act on every partition."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from coatcheck.errors import LimitExceeded
from coatcheck.integrations.temporal.sweep.options import ACT, ASK, FORGET, LOOK, Part, SweepOptions
from coatcheck.retention.live_snapshot import parts
from coatcheck.retention.tally import Report
from coatcheck.runtime.concurrency import all_at_once

HEARTBEAT_TIMEOUT: Final = timedelta(seconds=20)
"""Time without a heartbeat after which another worker takes a partition over."""
_ATTEMPTS: Final = 20
"""Attempts at one activity, half an hour or more in all: a worker or the store may be away for a while."""
_MOMENT: Final = timedelta(minutes=5)


# Nothing here is random or looks at a clock; outside the sandbox the package need not be loaded a second time.
@workflow.defn(name="coatcheck-sweep", sandboxed=False)
class SweepWorkflow:
    """Deletes payloads that no run can reach any more; treats a scope as :class:`~coatcheck.retention.sweep.Sweep` does.

    Its history has figures only, and is bounded by the number of partitions. It can be stopped or restarted at any moment,
    and run beside other sweeps.
    """

    @workflow.run
    async def run(self, options: SweepOptions) -> Report:
        """Sweep; return the figures of all partitions together, or those of a dry run if nothing is to be deleted.

        If a worker is killed, the work of its activities stays done, but their figures are lost.

        Raises:
            ApplicationError: More than the allowed share would be deleted (``LimitExceeded``), or an activity failed for good.
        """
        sweep = workflow.info().run_id
        try:
            begun: datetime = await workflow.execute_activity(
                ASK, args=[options, sweep], result_type=datetime, **_long(options)
            )
            found = await _each(LOOK, options, sweep, begun)
            if not options.delete:
                return found
            try:
                found.check_share(options.max_share)
            except LimitExceeded as error:
                raise ApplicationError(str(error), type="LimitExceeded", non_retryable=True) from None
            return await _each(ACT, options, sweep, begun)
        finally:
            await workflow.execute_activity(
                FORGET,
                sweep,
                start_to_close_timeout=_MOMENT,
                retry_policy=RetryPolicy(maximum_attempts=_ATTEMPTS),
            )


async def _each(activity: str, options: SweepOptions, sweep: str, begun: datetime) -> Report:
    """Return the figures of all partitions."""
    places = asyncio.Semaphore(options.at_once)

    async def one(digits: str) -> Report:
        async with places:
            part = Part(options, sweep, begun, digits)
            report: Report = await workflow.execute_activity(
                activity, part, result_type=Report, **_long(options)
            )
            return report

    sums = Report(begun, dry=activity == LOOK)
    for report in await all_at_once(one(digits) for digits in parts(options.digits)):
        sums.add(report)
    return sums


def _long(options: SweepOptions) -> Mapping[str, Any]:
    """Return the options of an activity, which never acts on facts older than half a grace."""
    return {
        "start_to_close_timeout": options.rules().grace / 2,
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "retry_policy": RetryPolicy(maximum_attempts=_ATTEMPTS, maximum_interval=timedelta(minutes=1)),
    }
