"""The parts of ``make bench``: benchmarks, each run in its own process."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness.records import Record, from_json
from benchmarks.harness.targets import Verdict

_TO_CLEAN_UP = 20.0
"""Seconds for a part to end its servers after an interrupt."""


class Part(NamedTuple):
    """A benchmark with its arguments for ``make bench``."""

    name: str
    question: str
    command: str
    """The command after ``python -m``; its arguments keep it short."""
    limit: float = 1200.0
    """Seconds after which it is ended and counts as failed."""


PARTS = (
    Part("growth", "How does the history grow, and when does the server end it?", "benchmarks.growth"),
    Part(
        "history",
        "What does a run of 60 turns store on Temporal, and what does it cost?",
        "benchmarks.history --rounds 1",
    ),
    Part("inngest", "What does a run cost on Inngest?", "benchmarks.history --engine inngest"),
    Part("restate", "What does a run store in Restate's journal?", "benchmarks.history --engine restate"),
    Part("durabletask", "Does a run end on Durable Task?", "benchmarks.history --engine durabletask"),
    Part(
        "langgraph",
        "What does a thread of LangGraph keep, and what does a turn cost?",
        "benchmarks.langgraph --turns 60",
    ),
    Part("replay", "How long does a replay take with a distant store?", "benchmarks.replay"),
    Part("recovery", "How soon does another worker continue after a kill?", "benchmarks.recovery --rounds 1"),
    Part("storage", "What does it cost to store an agent's states?", "benchmarks.storage --quick"),
    Part("stores", "How fast do stores move objects?", "benchmarks.stores --quick"),
    Part(
        "throughput",
        "How much of the speed of its parts does the chain keep?",
        "benchmarks.throughput --rounds 9",
    ),
    Part("sealing", "What does sealing cost?", "benchmarks.sealing"),
    Part(
        "loop_stall",
        "How long is the event loop blocked?",
        "benchmarks.loop_stall --rounds 7",
    ),
    Part("import_time", "What does importing cost?", "benchmarks.import_time --rounds 3"),
)


@dataclass(frozen=True, slots=True)
class PartResult:
    """The result of a part."""

    part: Part
    seconds: float
    failure: str = ""
    """The reason why there are no figures; empty if there are."""
    records: Sequence[Record] = ()
    verdicts: Sequence[Verdict] = field(default=())

    @property
    def missed(self) -> list[Verdict]:
        """Targets that were missed."""
        return [verdict for verdict in self.verdicts if not verdict.met]


def run(part: Part, folder: Path) -> PartResult:
    """Run a part to its end; it writes its figures to ``NAME.json`` in ``folder``.

    A part that fails is a result, not an error. If interrupted, it lets the part end its servers first.
    """
    figures = folder / f"{part.name}.json"
    command = [sys.executable, "-m", *shlex.split(part.command), "--json", str(figures)]
    start = time.monotonic()
    # A session of its own: an interrupt must not end the part's servers before the part does.
    process = subprocess.Popen(  # noqa: S603 - ourselves
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, _ = process.communicate(timeout=part.limit)
    except subprocess.TimeoutExpired:
        _end(process)
        return PartResult(part, time.monotonic() - start, f"not done after {part.limit:.0f} s")
    except BaseException:
        _end(process)
        raise
    seconds = time.monotonic() - start
    if process.returncode != 0:
        return PartResult(part, seconds, f"exit code {process.returncode}; see its output above")
    verdicts = [verdict for line in printed.splitlines() if (verdict := Verdict.read(line))]
    return PartResult(part, seconds, "", from_json(figures.read_text("utf-8")), verdicts)


def _end(process: "subprocess.Popen[str]") -> None:
    """Interrupt a part; if that does not help, kill it and all its processes."""
    os.kill(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_TO_CLEAN_UP)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
