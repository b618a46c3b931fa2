# ruff: noqa: T201 - an example prints
"""An agent without an engine that survives SIGKILL: ``python examples/checkpointed_agent.py``.

The agent loop is `live`: think, call a tool that writes, save a checkpoint. The driver below starts it in a process of
its own, kills it at the worst moment (after a write, before the checkpoint that would remember it), and starts another
process with nothing but the last reference. That one goes on where the first one was, makes the same write again under
the same idempotency key, and ends with the state of an agent that nobody ever killed, byte for byte.
"""

import asyncio
import hashlib
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from coatcheck import (
    Chain,
    Checkpoints,
    Encrypt,
    FileStore,
    Key,
    Keyring,
    Offload,
    Reference,
    Scope,
    Zstd,
    idempotency_key,
)

RUN = "order-7"
STEPS = 12
KILLED_IN = 8
KEYS = Keyring(Key(bytes(range(32))))
"""For the example; yours come from `Keyring.from_env()`."""


@dataclass
class Message:
    """One message of the conversation."""

    role: str
    content: str


@dataclass
class State:
    """What the agent knows: it grows with every step, and each checkpoint is stored as a delta."""

    step: int = 0
    messages: list[Message] = field(default_factory=list)


def think(state: State) -> str:
    """Stands in for a model: an answer of about 6 KB that depends on all that was said."""
    seen = hashlib.sha256("".join(message.content for message in state.messages).encode())
    return " ".join(hashlib.sha256(seen.digest() + bytes([n])).hexdigest() for n in range(96))


def refund(folder: Path, key: str, thought: str) -> str:
    """A tool that writes. The table takes each idempotency key once; a service would do the same."""
    with closing(sqlite3.connect(folder / "refunds.db")) as table, table:
        table.execute("CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, receipt TEXT)")
        table.execute("CREATE TABLE IF NOT EXISTS calls (key TEXT)")
        table.execute("INSERT INTO calls VALUES (?)", (key,))
        table.execute("INSERT OR IGNORE INTO refunds VALUES (?, ?)", (key, f"receipt {thought[:8]}"))
        ((receipt,),) = table.execute("SELECT receipt FROM refunds WHERE key = ?", (key,))
    return str(receipt)


async def live(folder: Path, reference: str, hang_in: int) -> None:
    """The agent: from the state behind ``reference``, or from the beginning, to the end."""
    async with Chain(Zstd(), Encrypt(KEYS), Offload(FileStore(folder / "payloads"))) as chain:
        checkpoints = Checkpoints(chain, run=RUN)
        state = await checkpoints.restore(reference, into=State) if reference else State()
        while state.step < STEPS:
            state.step += 1
            thought = think(state)
            receipt = refund(folder, idempotency_key(RUN, state.step, "refund"), thought)
            if state.step == hang_in:
                print("written, not saved", flush=True)
                time.sleep(60)  # noqa: ASYNC251 - until the driver kills it
            state.messages += [Message("assistant", thought), Message("tool", receipt)]
            print(await checkpoints.save(state, state.step), flush=True)


def start(folder: Path, reference: str = "", hang_in: int = 0) -> list[str]:
    """Run the agent in a new process, kill it if it hangs, and return the references that it printed."""
    command = [sys.executable, __file__, str(folder), reference, str(hang_in)]
    references = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this file
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("written"):
                process.kill()
                break
            references.append(line.strip())
    if process.returncode and not hang_in:
        sys.exit(f"the agent failed with exit code {process.returncode}")
    return references


async def state_of(folder: Path, reference: str) -> bytes:
    """The state behind a reference, as the bytes that were stored."""
    async with Chain(Zstd(), Encrypt(KEYS), Offload(FileStore(folder / "payloads"))) as chain:
        return await chain.open_reference(
            Reference.from_text(reference), Scope("default", RUN, engine="checkpoints")
        )


def main() -> None:
    """The driver."""
    with tempfile.TemporaryDirectory() as name:
        calm, killed = Path(name, "calm"), Path(name, "killed")
        calm.mkdir()
        killed.mkdir()
        expected = start(calm)[-1]
        before = start(killed, hang_in=KILLED_IN)
        print(f"killed with SIGKILL in step {KILLED_IN}; the last reference is {len(before[-1])} characters:")
        print(f"  {before[-1]}")
        after = start(killed, before[-1])
        print(f"another process took over after step {len(before)} and made {len(after)} steps")
        same = asyncio.run(state_of(calm, expected)) == asyncio.run(state_of(killed, after[-1]))
        print(f"the final state is that of an agent that was never killed, byte for byte: {same}")
        with closing(sqlite3.connect(killed / "refunds.db")) as table:
            ((calls,),) = table.execute("SELECT count(*) FROM calls")
            ((refunds,),) = table.execute("SELECT count(*) FROM refunds")
        print(f"the tool was called {calls} times, and {refunds} refunds were made")
        if not same or refunds != STEPS:
            sys.exit("that is not what was promised")


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(live(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    else:
        main()
