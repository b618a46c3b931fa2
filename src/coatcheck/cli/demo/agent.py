"""An agent as agents are usually written: each step is given everything that was said so far."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from coatcheck.cli.demo.conversation import Message, turn


@dataclass(frozen=True, slots=True)
class Talk:
    """What the workflow is asked to do."""

    seed: int
    turns: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one step is given."""

    seed: int
    number: int
    """Which turn, from 1."""
    conversation: list[Message]
    """Everything said before it."""


class Agent:
    """The activity.

    Args:
        begin: Awaited with the turn's number when a step has its input and goes to work.
    """

    def __init__(self, begin: Callable[[int], Awaitable[None]]) -> None:
        self._begin = begin

    @activity.defn
    async def step(self, step: Step) -> list[Message]:
        """The messages of the next turn."""
        await self._begin(step.number)
        return turn(step.seed, step.number)


@workflow.defn
class AgentWorkflow:
    """Turn after turn; its result is the whole conversation."""

    @workflow.run
    async def run(self, talk: Talk) -> list[Message]:
        """Hold the conversation."""
        said: list[Message] = []
        for number in range(1, talk.turns + 1):
            said += await workflow.execute_activity_method(
                Agent.step,
                Step(talk.seed, number, said),
                start_to_close_timeout=timedelta(seconds=30),
                # How soon the server finds out that a worker was killed.
                heartbeat_timeout=timedelta(seconds=2),
            )
        return said
