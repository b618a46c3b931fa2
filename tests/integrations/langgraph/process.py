"""A process with a graph on the database and the store of a folder: ``python -m ...process FOLDER OWN``.

Runs one turn for each line that it reads, in the thread ``shared`` or in its own, and prints the thread and the turn.
"""

import sys
from pathlib import Path
from typing import Any

from langgraph.types import Command

from coatcheck import FileStore
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.integrations.langgraph.graphs import loop, said
from tests.integrations.langgraph.savers import chain_on, whole_sqlite
from tests.integrations.langgraph.test_graphs import config


def saver_in(folder: Path, store: FileStore | None = None) -> ClaimCheckSaver:
    folder.mkdir(exist_ok=True)
    below = whole_sqlite(folder / "checkpoints.db")
    below.conn.execute("PRAGMA synchronous=OFF")
    below.conn.execute("PRAGMA busy_timeout=60000")
    return ClaimCheckSaver(below, chain_on(store or FileStore(folder / "store")))


def serve(folder: Path, own: str) -> None:
    app = loop().compile(checkpointer=saver_in(folder))
    for line in sys.stdin:
        thread = "shared" if line.strip() == "shared" else own
        done = app.invoke({"messages": [said("in")]}, config(thread))
        print(thread, done["turn"], flush=True)  # noqa: T201 - it is asked to


BRANCHES = 3
"""A state without a next node may still have steps to go: LangGraph shows the writes of one that was not saved yet."""


def run_agent(app: Any) -> Any:
    """From wherever it is to the end, whoever began."""
    while True:
        state = app.get_state(config("t"))
        if state.created_at is None:
            app.invoke({"messages": [said("in")]}, config("t"))
        elif not state.next and len(state.values.get("parts", ())) == BRANCHES:
            return app.invoke(None, config("t"))
        else:
            app.invoke(Command(resume="yes" * 3000) if state.interrupts else None, config("t"))


if __name__ == "__main__":
    where, what = Path(sys.argv[1]), sys.argv[2]
    serve(where, what)
