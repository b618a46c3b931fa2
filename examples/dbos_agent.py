# ruff: noqa: T201 - an example prints
"""A DBOS agent that survives SIGKILL, in a database that holds references only: ``python examples/dbos_agent.py``.

Each turn is a step that returns the whole conversation. The driver below starts the agent in a process of its own, kills it in
the middle of a step, and starts another one, which goes on where the first one was. Only the line with
``ClaimCheckSerializer`` differs from a plain application.
"""

import hashlib
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from dbos import DBOS, SetWorkflowID

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.dbos import ClaimCheckSerializer

TURNS = 12
KILLED_IN = 8
KEYS = Keyring(Key(bytes(range(32))))
"""For the example; yours come from `Keyring.from_env()`."""

hang_in = 0


@DBOS.step()
def think(conversation: list[str]) -> list[str]:
    """Stands in for a model: an answer of about 6 KB that depends on all that was said."""
    print(f"step {len(conversation)}", flush=True)
    if len(conversation) == hang_in:
        time.sleep(60)  # until the driver kills it
    seen = hashlib.sha256("".join(conversation).encode())
    words = (hashlib.sha256(seen.digest() + bytes([n])).hexdigest() for n in range(96))
    return [*conversation, " ".join(words)]


@DBOS.workflow()
def ask(question: str) -> list[str]:
    """One question, and some turns."""
    conversation = [question]
    for _ in range(TURNS):
        conversation = think(conversation)
    return conversation


def live(folder: Path) -> None:
    """The application: it begins, or goes on with what DBOS has."""
    chain = Chain(Zstd(), Encrypt(KEYS), Offload(FileStore(folder / "payloads")))
    DBOS(
        config={
            "name": "support-agent",
            "system_database_url": f"sqlite:///{folder}/system.db",
            "serializer": ClaimCheckSerializer(chain),
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    with SetWorkflowID("order-7"):
        conversation = ask("Where is my refund?")
    print(f"said {hashlib.sha256(''.join(conversation).encode()).hexdigest()}", flush=True)
    DBOS.destroy()


def start(folder: Path, hang: int = 0) -> list[str]:
    """Run the application in a new process, kill it in the step in which it hangs, and return what it printed."""
    lines = []
    command = [sys.executable, "-W", "ignore", __file__, str(folder), str(hang)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this file
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if line.strip() == f"step {hang}":
                process.kill()
                break
    if process.returncode and not hang:
        sys.exit(f"the agent failed with exit code {process.returncode}")
    return lines


def main() -> None:
    """The driver."""
    with tempfile.TemporaryDirectory() as name:
        calm, killed = Path(name, "calm"), Path(name, "killed")
        calm.mkdir()
        killed.mkdir()
        wanted = start(calm)[-1]
        before = start(killed, KILLED_IN)
        print(f"killed with SIGKILL in {before[-1]}")
        after = start(killed)
        print(f"took over and made {len(after) - 1} steps")
        print(f"the same as one that was never killed, byte for byte: {after[-1] == wanted}")
        with closing(sqlite3.connect(killed / "system.db")) as database:
            rows = database.execute("SELECT output FROM operation_outputs").fetchall()
        print(f"{len(rows)} steps take {sum(len(row[0]) for row in rows):,} characters in the database")


if __name__ == "__main__":
    if sys.argv[1:]:
        hang_in = int(sys.argv[2])
        live(Path(sys.argv[1]))
    else:
        main()
