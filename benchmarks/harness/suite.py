"""The parts of ``make bench``: each is a benchmark of its own, run in a process of its own."""

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
"""Seconds that a part has to end its servers when it is told to stop."""


class Part(NamedTuple):
    """A benchmark, as ``make bench`` runs it."""

    name: str
    question: str
    command: str
    """After ``python -m``; its arguments keep it short."""
    limit: float = 1200.0
    """Seconds after which it is ended, and has failed: it hangs."""


PARTS = (
    Part("growth", "How does the history grow, and when does the server end it?", "benchmarks.growth"),
    Part(
        "history",
        "What does a run of 60 turns leave behind on Temporal, and what does it cost?",
        "benchmarks.history --rounds 1",
    ),
    Part("inngest", "What does a run come to on Inngest?", "benchmarks.history --engine inngest"),
    Part("restate", "What does a run leave in Restate's journal?", "benchmarks.history --engine restate"),
    Part("replay", "How long does a replay take where the store is far away?", "benchmarks.replay"),
    Part(
        "recovery", "How soon is another worker back at work after a kill?", "benchmarks.recovery --rounds 1"
    ),
    Part("storage", "What does it take to keep what agents save step by step?", "benchmarks.storage --quick"),
    Part("stores", "How fast do stores move objects?", "benchmarks.stores --quick"),
    Part(
        "throughput",
        "How much of the speed of its parts does the chain keep?",
        "benchmarks.throughput --rounds 9",
    ),
    Part("sealing", "What does sealing cost?", "benchmarks.sealing"),
    Part(
        "loop_stall",
        "How long is the event loop kept from everything else?",
        "benchmarks.loop_stall --rounds 7",
    ),
    Part("import_time", "What does importing cost?", "benchmarks.import_time --rounds 3"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a part."""

    part: Part
    seconds: float
    failure: str = ""
    """Why there are no figures; empty where there are."""
    records: Sequence[Record] = ()
    verdicts: Sequence[Verdict] = field(default=())

    @property
    def missed(self) -> list[Verdict]:
        """Targets that did not hold."""
        return [verdict for verdict in self.verdicts if not verdict.met]


def run(part: Part, folder: Path) -> Outcome:
    """Run a part to its end; its figures are in ``NAME.json`` in ``folder`` then.

    A part that fails is an outcome, not an error. Interrupted, it sees to it that the part ends its servers first.
    """
    figures = folder / f"{part.name}.json"
    command = [sys.executable, "-m", *shlex.split(part.command), "--json", str(figures)]
    start = time.monotonic()
    # A session of its own: whoever interrupts us must not end the part's servers before the part does.
    process = subprocess.Popen(  # noqa: S603 - ourselves
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, _ = process.communicate(timeout=part.limit)
    except subprocess.TimeoutExpired:
        _end(process)
        return Outcome(part, time.monotonic() - start, f"not done after {part.limit:.0f} s")
    except BaseException:
        _end(process)
        raise
    seconds = time.monotonic() - start
    if process.returncode != 0:
        return Outcome(part, seconds, f"exit code {process.returncode}: what it said is above")
    verdicts = [verdict for line in printed.splitlines() if (verdict := Verdict.read(line))]
    return Outcome(part, seconds, "", from_json(figures.read_text("utf-8")), verdicts)


def _end(process: "subprocess.Popen[str]") -> None:
    """Interrupt a part, and kill it with all that it started if that does not help."""
    os.kill(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_TO_CLEAN_UP)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
