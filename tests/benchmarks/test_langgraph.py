"""The benchmark of threads in LangGraph, with a few turns: it comes to an end, and counts what there is."""

from benchmarks.charting.ways import COATCHECK, PLAIN
from benchmarks.harness import targets
from benchmarks.harness.records import values
from benchmarks.langgraph.__main__ import measure_all

TURNS = 4


def test_a_thread_is_measured_and_resumed_from_what_is_there() -> None:
    records = measure_all([TURNS], databases=["sqlite"], ways=[PLAIN, COATCHECK], resumptions=1)
    found = values(records)
    plain, ours = (f"{TURNS} turns, sqlite {way}" for way in (PLAIN, COATCHECK))
    assert found[plain, "store_bytes"] == found[plain, "load_store_bytes"] == found[plain, "objects"] == 0
    assert found[ours, "objects"] > 0 < found[ours, "store_bytes"]
    assert found[ours, "kept_bytes"] == found[ours, "store_bytes"] + found[ours, "database_bytes"]
    assert found[ours, "kept_bytes"] < found[plain, "kept_bytes"] / 2
    assert found[ours, "load_database_bytes"] < found[plain, "load_database_bytes"] / 5
    assert 0 < found[ours, "load_store_bytes"] < found[ours, "store_bytes"]
    assert all(found[case, name] > 0 for case in (plain, ours) for name in ("turn_seconds", "resume_seconds"))
    assert [target.what for target in targets.langgraph(found)] == [
        f"{TURNS} turns, sqlite, a turn, times plain",
        f"{TURNS} turns, sqlite, cold resume, times plain",
    ]
