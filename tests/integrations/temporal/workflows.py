"""Workflows and activities that move large payloads on many paths."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

SECOND = timedelta(seconds=20)
ONCE = RetryPolicy(maximum_attempts=1)


def text(size: int, seed: str = "") -> str:
    """``size`` characters that do not compress to nothing."""
    lines = (f"{seed}{n * 2654435761 % 2**32:08x}" for n in range(size // 8 + 1))
    return "".join(lines)[:size]


@activity.defn
async def echo(data: str) -> str:
    """Give back what was given."""
    return data


@activity.defn
async def remember(data: str) -> str:
    """Heartbeat once with a large detail, fail, and give back on the next attempt what the heartbeat said."""
    details = activity.info().heartbeat_details
    if details:
        return str(details[0])
    activity.heartbeat(data)
    raise ApplicationError("once")


@activity.defn
async def fail(data: str) -> None:
    """Fail with a large detail."""
    raise ApplicationError("activity failed", data, type="Deliberate", non_retryable=True)


@workflow.defn
class Echo:
    """Gives back what it was given, by way of an activity."""

    @workflow.run
    async def run(self, data: str) -> str:
        return await workflow.execute_activity(echo, data, start_to_close_timeout=SECOND)


@dataclass
class State:
    """What Everything carries from run to run."""

    data: str
    collected: list[str]
    continued: bool = False


@workflow.defn
class Everything:
    """Every path that a payload can take through one workflow."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.state: State | None = None

    @workflow.signal
    async def give(self, data: str) -> None:
        self.signals.append(data)

    @workflow.query
    def peek(self, suffix: str) -> str:
        return (self.state.data if self.state else "") + suffix

    @workflow.update
    async def change(self, data: str) -> str:
        self.signals.append(data)
        return data + "!"

    @workflow.run
    async def run(self, state: State) -> list[str]:
        self.state = state
        if not state.continued:
            await self.collect(state)
            workflow.continue_as_new(State(state.data, state.collected, continued=True))
        return state.collected

    async def collect(self, state: State) -> None:
        collected = state.collected
        collected.append(await workflow.execute_activity(echo, state.data, start_to_close_timeout=SECOND))
        collected.append(
            await workflow.execute_local_activity(echo, state.data, start_to_close_timeout=SECOND)
        )
        collected.append(await workflow.execute_activity(remember, state.data, start_to_close_timeout=SECOND))
        collected.append(await workflow.execute_child_workflow(Echo.run, state.data))
        try:
            await workflow.execute_activity(fail, state.data, start_to_close_timeout=SECOND)
        except Exception as error:  # noqa: BLE001 - the SDK's own nesting is what is looked at
            cause = error.__cause__
            collected.append(str(cause.details[0]) if isinstance(cause, ApplicationError) else repr(error))
        collected.append(str(workflow.memo_value("note")))
        await workflow.wait_condition(lambda: len(self.signals) == 2)
        collected.extend(self.signals)
