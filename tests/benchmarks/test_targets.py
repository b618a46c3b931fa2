"""Targets, as they are printed and read again."""

import pytest

from benchmarks.harness import targets
from benchmarks.harness.targets import Target, Verdict


def test_a_target_is_met_up_to_its_bound() -> None:
    assert str(Target("share", 0.1, 0.1)) == "ok      share: 0.1, at most 0.1"
    assert str(Target("share", 0.11, 0.1)) == "MISSED  share: 0.11, at most 0.1"
    assert str(Target("speed", 0.9, 1, "least")) == "MISSED  speed: 0.9, at least 1"


@pytest.mark.parametrize("found", [0.0, 0.2, 0.95, 1.0, 35.308])
def test_what_is_printed_is_read_again(found: float) -> None:
    target = Target("60 turns, wall: times the SDK's", found, 0.95)
    verdict = Verdict.read(str(target) + "\n")
    assert verdict == Verdict(target.met, target.what, f"{found:.4g}", "at most 0.95")


@pytest.mark.parametrize("line", ["", "ok", "okay  x: 1, at most 2", "│ ok      │", "ok      x: 1, about 2"])
def test_other_lines_are_no_verdicts(line: str) -> None:
    assert Verdict.read(line) is None


def test_history_is_measured_by_the_sdk_of_the_same_run() -> None:
    names = ("history_bytes", "stored_bytes", "requests", "wall_seconds")
    value = {("sdk", name): 100.0 for name in names}
    for case in ("coatcheck-codec", "coatcheck-native"):
        value |= {(case, name): 4.0 for name in names} | {(case, "replay_requests"): 0.0}
    assert all(target.met for target in targets.history(value))
    value["coatcheck-native", "stored_bytes"] = 4.1
    assert [target.what for target in targets.history(value) if not target.met] == [
        "coatcheck-native, stored_bytes, times the SDK's"
    ]
