"""An agent whose turn is four checkpoints: a user asks, a model calls tools, the tools answer, the model answers."""

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph

from coatcheck.cli.demo.conversation import Message, conversation, turn

THREAD: Any = {"configurable": {"thread_id": "agent"}}
_SEED = 7
_CALLS, _ANSWERS = slice(1, 2), slice(2, 4)
"""Places of the model's calls and of the tools' answers in the messages of a turn."""


class State(TypedDict):
    """Messages that LangGraph saves whole at every step."""

    conversation: Annotated[list[Message], operator.add]
    turn: int


def _joined(before: list[Message], updates: Sequence[list[Message]]) -> list[Message]:
    return [*before, *(message for update in updates for message in update)]


class DeltaState(TypedDict):
    """The same in LangGraph's own ``DeltaChannel`` with its defaults."""

    conversation: Annotated[list[Message], DeltaChannel(_joined)]
    turn: int


def expected(turns: int) -> list[Message]:
    """Return the messages after so many turns."""
    return [_item(message) for message in conversation(_SEED, turns)]


def _item(message: Message) -> Message:
    """Return a message as it stands in the state: LangGraph would make an object of its own of the message itself."""
    return {"message": message}


class Agent:
    """The agent, which says what the demo's conversation says.

    Args:
        saver: Keeps its checkpoints.
        delta: Its messages are in a ``DeltaChannel``.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], *, delta: bool) -> None:
        self._said: dict[int, list[Message]] = {}
        self._app = _graph(self, DeltaState if delta else State).compile(checkpointer=saver)

    def prepare(self, turns: int) -> None:
        """Compute all that will be said, so that it is not timed."""
        for number in range(1, turns + 1):
            self._turn(number)

    def live(self, first: int, last: int) -> None:
        """Run turns, those of ``first`` and of ``last`` included."""
        for number in range(first, last + 1):
            self._app.invoke({"conversation": self._turn(number)[:1], "turn": number}, THREAD)

    def messages(self) -> list[Message]:
        """Return the messages of the latest checkpoint."""
        found: list[Message] = self._app.get_state(THREAD).values["conversation"]
        return found

    def think(self, state: State) -> dict[str, list[Message]]:
        """Call tools, or answer when they have answered."""
        said = self._turn(state["turn"])
        is_asked = state["conversation"][-1]["message"]["role"] == "user"
        return {"conversation": said[_CALLS] if is_asked else said[_ANSWERS.stop :]}

    def work(self, state: State) -> dict[str, list[Message]]:
        """Answer for the tools."""
        return {"conversation": self._turn(state["turn"])[_ANSWERS]}

    def _turn(self, number: int) -> list[Message]:
        if number not in self._said:
            self._said[number] = [_item(message) for message in turn(_SEED, number)]
        return self._said[number]


def _graph(agent: Agent, state: Any) -> "StateGraph[Any, Any, Any, Any]":
    graph = StateGraph(state)
    graph.add_node("think", agent.think, input_schema=state)
    graph.add_node("work", agent.work, input_schema=state)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", _next, ["work", END])
    graph.add_edge("work", "think")
    return graph


def _next(state: Any) -> str:
    return "work" if "tool_calls" in state["conversation"][-1]["message"] else END
