"""Graphs that tests run: a loop of an agent, an interrupt, parallel branches, a subgraph, and a ``DeltaChannel``."""

import hashlib
import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt


class State(TypedDict, total=False):
    messages: Annotated[list[str], operator.add]
    turn: int
    approved: str
    parts: Annotated[list[str], operator.add]


def said(seed: object, size: int = 6000) -> str:
    """Text that does not compress into nothing, the same for the same seed."""
    words = (hashlib.sha256(f"{seed}-{n}".encode()).hexdigest() for n in range(size // 64 + 1))
    return "".join(words)[:size]


class Part(TypedDict):
    part: str


def think(state: State) -> State:
    turn = state.get("turn", 0) + 1
    return {"messages": [said(len(state.get("messages", [])))], "turn": turn}


def work(state: Part) -> State:
    return {"parts": [said(state["part"])]}


def fan_out(state: State) -> list[Send]:
    return [Send("work", {"part": f"{state.get('turn', 0)}-{n}"}) for n in range(3)]


def approve(state: State) -> State:
    return {"approved": interrupt({"draft": said("draft", 20_000), "turn": state.get("turn", 0)})}


def agent() -> StateGraph[Any, Any, Any, Any]:
    """Think, ask for approval in a subgraph, then work in three branches."""
    inner = StateGraph(State)
    inner.add_node("approve", approve)
    inner.add_edge(START, "approve")
    inner.add_edge("approve", END)
    outer = StateGraph(State)
    outer.add_node("think", think)
    outer.add_node("ask", inner.compile())
    outer.add_node("work", work)
    outer.add_edge(START, "think")
    outer.add_edge("think", "ask")
    outer.add_conditional_edges("ask", fan_out, ["work"])
    outer.add_edge("work", END)
    return outer


def loop() -> StateGraph[Any, Any, Any, Any]:
    """One node."""
    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_edge(START, "think")
    graph.add_edge("think", END)
    return graph


def _joined(before: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*before, *(item for write in writes for item in write)]


class DeltaState(TypedDict, total=False):
    messages: Annotated[list[str], DeltaChannel(_joined, snapshot_frequency=3)]
    turn: int


def with_deltas() -> StateGraph[Any, Any, Any, Any]:
    """One node, whose messages LangGraph itself saves as deltas with snapshots."""
    graph = StateGraph(DeltaState)
    think_again: Any = think
    graph.add_node("think", think_again, input_schema=DeltaState)
    graph.add_edge(START, "think")
    graph.add_edge("think", END)
    return graph
