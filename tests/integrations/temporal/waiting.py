"""A workflow that waits in the middle, for as long as it takes to change something around it."""

from datetime import timedelta

from temporalio import activity, workflow

SECONDS = timedelta(seconds=20)


@activity.defn
async def double(data: str) -> str:
    """Twice as much."""
    return data + data


@workflow.defn
class Waiting:
    """Takes a step before it waits, and one after."""

    def __init__(self) -> None:
        self.given: str | None = None
        self.waits = False

    @workflow.signal
    async def give(self, data: str) -> None:
        self.given = data

    @workflow.update
    async def until_it_waits(self) -> None:
        await workflow.wait_condition(lambda: self.waits)

    @workflow.run
    async def run(self, data: str) -> list[str]:
        first = await workflow.execute_activity(double, data, start_to_close_timeout=SECONDS)
        self.waits = True
        await workflow.wait_condition(lambda: self.given is not None)
        assert self.given is not None
        second = await workflow.execute_activity(double, self.given, start_to_close_timeout=SECONDS)
        return [first, second]
