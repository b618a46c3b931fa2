"""The benchmark of threads in LangGraph, with a few turns: it comes to an end, and counts what there is."""

from benchmarks.charting.ways import COATCHECK, DELTA, PLAIN
from benchmarks.harness import targets
from benchmarks.harness.records import values
from benchmarks.langgraph.__main__ import measure_all

TURNS = 4


def test_a_thread_is_measured_and_resumed_from_what_is_there() -> None:
    found = values(measure_all([TURNS], databases=["sqlite"], ways=[COATCHECK], resumptions=1))
    figures = {
        name: value for (case, name), value in found.items() if case == f"{TURNS} turns, sqlite {COATCHECK}"
    }
    assert len(figures) == len(found)
    assert figures["objects"] > 0
    assert figures["kept_bytes"] == figures["store_bytes"] + figures["database_bytes"]
    assert 0 < figures["load_database_bytes"] < 5_000, "the state stands in the store"
    assert 5_000 < figures["load_store_bytes"] < figures["store_bytes"]
    assert all(figures[name] > 0 for name in ("turn_seconds", "turn_cpu_seconds", "resume_seconds"))


def test_the_size_of_long_threads_has_targets() -> None:
    figures = {"kept_bytes": 100.0, "turn_seconds": 1.0, "resume_seconds": 1.0}
    found = {
        (f"{turns} turns, {kind} {way}", name): value
        for turns in (60, 200)
        for kind in ("sqlite", "postgres")
        for way in (PLAIN, DELTA, COATCHECK)
        for name, value in {**figures, "turns": float(turns)}.items()
    }
    said = [target.what for target in targets.langgraph(found)]
    assert said == [
        "60 turns, sqlite, a turn, times plain",
        "60 turns, sqlite, cold resume, times plain",
        "60 turns, postgres, cold resume, times plain",
        "200 turns, sqlite, kept_bytes, times plain",
        "200 turns, sqlite, kept_bytes, times delta-channel",
        "200 turns, sqlite, a turn, times plain",
        "200 turns, sqlite, cold resume, times plain",
        "200 turns, postgres, kept_bytes, times plain",
        "200 turns, postgres, kept_bytes, times delta-channel",
        "200 turns, postgres, cold resume, times plain",
    ]
