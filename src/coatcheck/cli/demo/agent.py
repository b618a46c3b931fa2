"""A typical agent: each step gets the whole conversation so far."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from coatcheck.cli.demo.conversation import Message, turn


@dataclass(frozen=True, slots=True)
class Talk:
    """The input of the workflow."""

    seed: int
    turns: int


@dataclass(frozen=True, slots=True)
class Step:
    """The input of one step."""

    seed: int
    number: int
    """The turn, from 1."""
    conversation: list[Message]
    """Everything said before it."""


class Agent:
    """The activity.

    Args:
        begin: Awaited with the turn's number when a step has its input and starts to work.
    """

    def __init__(self, begin: Callable[[int], Awaitable[None]]) -> None:
        self._begin = begin

    @activity.defn
    async def step(self, step: Step) -> list[Message]:
        """Return the messages of the next turn."""
        await self._begin(step.number)
        return turn(step.seed, step.number)


@workflow.defn
class AgentWorkflow:
    """A workflow of one step a turn; its result is the whole conversation."""

    @workflow.run
    async def run(self, talk: Talk) -> list[Message]:
        """Hold the conversation."""
        said: list[Message] = []
        for number in range(1, talk.turns + 1):
            said += await workflow.execute_activity_method(
                Agent.step,
                Step(talk.seed, number, said),
                start_to_close_timeout=timedelta(seconds=30),
                # Bounds the time until the server notices that a worker was killed.
                heartbeat_timeout=timedelta(seconds=2),
            )
        return said
