"""Records, as they are laid out and kept."""

from benchmarks.harness.records import Layout, Record, from_json, in_turn, medians, to_json


def test_a_column_for_each_way_and_a_row_for_each_figure() -> None:
    layout = Layout(
        [
            Record("60 turns coatcheck", "stored", 1.0, "MB"),
            Record("60 turns whole", "stored", 9.0, "MB"),
            Record("states of 5 MB", "peak", 7.0, "MB"),
        ]
    )
    assert layout.ways == ["whole", "coatcheck", "value"]
    assert layout.places == {
        "60 turns": {("stored", "MB"): {"coatcheck": 1.0, "whole": 9.0}},
        "states of 5 MB": {("peak", "MB"): {"value": 7.0}},
    }


def test_of_figures_for_each_turn_one_in_twenty_is_shown() -> None:
    layout = Layout(Record(f"turn {turn} sdk", "history_bytes", turn, "bytes") for turn in range(1, 61))
    assert list(layout.places) == ["turn 20", "turn 40", "turn 60"]


def test_seconds_are_medians_and_counts_the_last() -> None:
    rounds = [Record("sdk", "wall", seconds, "s") for seconds in (3.0, 1.0, 2.0)]
    rounds += [Record("sdk", "puts", count, "requests") for count in (5, 6)]
    assert medians(rounds) == [Record("sdk", "wall", 2.0, "s"), Record("sdk", "puts", 6, "requests")]


def test_what_is_written_is_read_again() -> None:
    records = [Record("step 15 plain", "back_seconds", 0.25, "s"), Record("plain", "puts", 3, "requests")]
    assert from_json(to_json(records)) == records


def test_contenders_take_turns() -> None:
    called: list[str] = []
    times = in_turn(2, lambda: called.append("a"), lambda: called.append("b"), clock=iter(range(8)).__next__)
    assert called == ["a", "b", "a", "b"]
    assert times == [[1, 1], [1, 1]]
