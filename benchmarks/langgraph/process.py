"""The processes that are measured: ``python -m benchmarks.langgraph.process live|resume WAY DATABASE FOLDER TURNS``.

Each prints its figures as one object of JSON.
"""

import json
import sys
import time
from pathlib import Path

from benchmarks.charting.ways import DELTA, DELTA_AND_COATCHECK
from benchmarks.langgraph.agent import Agent, expected
from benchmarks.langgraph.savers import Read, saver_of
from coatcheck.cli.demo.conversation import Message

Figures = dict[str, float]


def live(way: str, database: str, folder: Path, turns: int) -> Figures:
    """Run all turns; return the seconds of one, without the first, in which a process does what it does once."""
    with saver_of(way, database, folder) as saver:
        agent = Agent(saver, delta=_is_delta(way))
        agent.prepare(turns)
        agent.live(1, 1)
        wall, cpu = time.perf_counter(), time.process_time()
        agent.live(2, turns)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"turn_seconds": wall / (turns - 1), "turn_cpu_seconds": cpu / (turns - 1)}


def resume(way: str, database: str, folder: Path, turns: int) -> Figures:
    """Load the latest state in a process that has loaded nothing yet, compare it, then load it again and count bytes."""
    start = time.perf_counter()
    with saver_of(way, database, folder) as saver:
        found = Agent(saver, delta=_is_delta(way)).messages()
        seconds = time.perf_counter() - start
        _compare(found, turns)
    read = Read()
    with saver_of(way, database, folder, read) as saver:
        _compare(Agent(saver, delta=_is_delta(way)).messages(), turns)
    return {
        "resume_seconds": seconds,
        "load_database_bytes": read.database,
        "load_store_bytes": read.stored,
    }


def _is_delta(way: str) -> bool:
    return way in {DELTA, DELTA_AND_COATCHECK}


def _compare(found: list[Message], turns: int) -> None:
    if found != expected(turns):
        raise AssertionError("the state differs from the conversation")


if __name__ == "__main__":
    does, *given, folder, turns = sys.argv[1:]
    work = {"live": live, "resume": resume}[does]
    json.dump(work(given[0], given[1], Path(folder), int(turns)), sys.stdout)
