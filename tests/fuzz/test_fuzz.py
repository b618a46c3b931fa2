"""A short run of every fuzzer; ``python -m tests.fuzz.run`` is the long one."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.long

RUNS = 20_000


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_does_what_no_interface_says(target: str) -> None:
    outcome = fuzz(target, RUNS)
    assert not outcome.finding, f"{outcome}\n{outcome.finding}"
    assert outcome.executions >= RUNS
