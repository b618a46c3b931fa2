# ruff: noqa: T201 - an example prints
"""A LangGraph agent that survives SIGKILL: ``python examples/langgraph_agent.py``.

The agent thinks, calls tools, and asks a human before it pays. Its checkpoints are in SQLite, and their values in a store,
compressed and encrypted. The driver below starts it in a process of its own, kills that in the middle of a turn, and lets
another one go on; the payment waits for an approval, and a third process gives it.
"""

import hashlib
import operator
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.langgraph import ClaimCheckSaver

TURNS = 40
KILLED_IN = 25
THREAD: Any = {"configurable": {"thread_id": "order-7"}}
KEYS = Keyring(Key(bytes(range(32))))
"""For the example; yours come from `Keyring.from_env()`."""


class State(TypedDict):
    """The state of the agent."""

    messages: Annotated[list[str], operator.add]
    receipt: str


def model(messages: list[str]) -> str:
    """Stands in for a model: an answer of about 6 KB that depends on all that was said."""
    seen = hashlib.sha256("".join(messages).encode()).digest()
    return " ".join(hashlib.sha256(seen + bytes([n])).hexdigest() for n in range(96))


def think(state: State) -> dict[str, Any]:
    """Ask the model."""
    turn = len(state["messages"]) // 2 + 1
    print("turn", turn, flush=True)
    if turn == KILLED_IN and "hang" in sys.argv:
        time.sleep(60)  # until the driver kills it
    return {"messages": [model(state["messages"])]}


def search(state: State) -> dict[str, Any]:
    """Call a tool."""
    return {"messages": ["found: " + model(state["messages"][-1:])]}


def pay(state: State) -> dict[str, Any]:
    """Call a tool that needs an approval; what is to be approved is as large as it is."""
    answer = interrupt({"pay": 120, "because": state["messages"][-3:]})
    return {"receipt": f"paid: {answer}"}


def is_done(state: State) -> Literal["search", "pay"]:
    """Go on, or come to an end."""
    return "pay" if len(state["messages"]) >= 2 * TURNS else "search"


def build() -> StateGraph[State, None, State, State]:
    """The graph: nothing in it knows of coatcheck."""
    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_node("search", search)
    graph.add_node("pay", pay)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", is_done)
    graph.add_edge("search", "think")
    graph.add_edge("pay", END)
    return graph


def live(folder: Path, *, approved: bool, plain: bool) -> None:
    """Run the agent from wherever it is as far as it comes."""
    with SqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver:
        chain = Chain(Zstd(), Encrypt(KEYS), Offload(FileStore(folder / "payloads")))
        app = build().compile(checkpointer=saver if plain else ClaimCheckSaver(saver, chain))
        config: Any = {**THREAD, "recursion_limit": 1000}
        begun = app.get_state(config).created_at is not None
        task: Any = (
            Command(resume="approved") if approved else None if begun else {"messages": ["Buy a chair."]}
        )
        done = app.invoke(task, config, durability="sync")
        print(
            "end",
            done.get("receipt", "waits for an approval"),
            hashlib.sha256(str(done["messages"]).encode()).hexdigest(),
        )
        chain.sync.close()


def start(folder: Path, *arguments: str) -> list[str]:
    """Run the agent in a new process, kill it where it hangs, and return the lines that it printed."""
    folder.mkdir(exist_ok=True)
    lines = []
    command = [sys.executable, __file__, str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this file
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if "hang" in arguments and line.split() == ["turn", str(KILLED_IN)]:
                process.kill()
    if process.returncode and "hang" not in arguments:
        sys.exit(f"the agent failed with exit code {process.returncode}")
    return lines


def size(folder: Path) -> int:
    """Bytes of the database and of the store."""
    with closing(sqlite3.connect(folder / "checkpoints.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """The driver."""
    with tempfile.TemporaryDirectory() as name:
        killed, calm = Path(name, "killed"), Path(name, "calm")
        begun = start(killed, "hang")
        print(f"killed with SIGKILL in {begun[-1]}")
        resumed = start(killed)
        print(f"another process went on in {resumed[0]}; {resumed[-1].rpartition(' ')[0]}")
        last = start(killed, "approve")[-1]
        start(calm, "plain")
        expected = start(calm, "plain", "approve")[-1]
        print(
            f"{last.rpartition(' ')[0]}; the state is that of an agent that was never killed: {last == expected}"
        )
        ours, plain = size(killed), size(calm)
        print(f"{ours / 1e6:.1f} MB in the database and the store; without coatcheck {plain / 1e6:.1f} MB")
        if last != expected or ours * 10 > plain:
            sys.exit("that is not what was promised")


if __name__ == "__main__":
    if sys.argv[1:]:
        live(Path(sys.argv[1]), approved="approve" in sys.argv, plain="plain" in sys.argv)
    else:
        main()
