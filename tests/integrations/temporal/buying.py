"""Workflows that have something done which must not be done twice."""

from datetime import timedelta

import nexusrpc
from temporalio import workflow
from temporalio.common import RetryPolicy

SOON = timedelta(seconds=30)
HASTE = RetryPolicy(initial_interval=timedelta(milliseconds=50))


@nexusrpc.service
class Shop:
    """The service that charges, elsewhere."""

    charge: nexusrpc.Operation[None, str]


@workflow.defn
class Buying:
    """Gives back the receipt."""

    @workflow.run
    async def run(self, charge: str) -> str:
        receipt: str = await workflow.execute_activity(
            charge,
            result_type=str,
            task_queue=f"{workflow.info().task_queue}-activities",
            start_to_close_timeout=SOON,
            retry_policy=HASTE,
        )
        return receipt


@workflow.defn
class BuyingLocally:
    """Gives back the receipt, by a local activity."""

    @workflow.run
    async def run(self, charge: str) -> str:
        receipt: str = await workflow.execute_local_activity(
            charge, result_type=str, start_to_close_timeout=SOON, retry_policy=HASTE
        )
        return receipt


@workflow.defn
class BuyingElsewhere:
    """Gives back the receipt, by an operation of Nexus."""

    @workflow.run
    async def run(self, endpoint: str) -> str:
        shop = workflow.create_nexus_client(service=Shop, endpoint=endpoint)
        return await shop.execute_operation(Shop.charge, None, schedule_to_close_timeout=SOON)
