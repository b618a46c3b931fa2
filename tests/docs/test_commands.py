"""What is wrong in a command line is found."""

import pytest

from tests.docs.commands import check, check_span


@pytest.mark.parametrize(
    "command",
    [
        "coatcheck nothing",
        "coatcheck store",
        "coatcheck store nothing file:///folder",
        "coatcheck store check --nothing",
        "coatcheck checkpoints list",
        "coatcheck get WORKFLOW_ID --nothing",
        "export COATCHECK_KEYS=$(coatcheck keys nothing)",
        "cat history.json | coatcheck doctor --nothing -",
        "pip install 'coatcheck[cli,nothing]'",
        "make nothing",
        "python -m benchmarks.nothing",
        "python examples/nothing.py",
    ],
)
def test_a_command_that_is_wrong(command: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no |missing"):
        check(command)


@pytest.mark.parametrize("span", ["coatcheck keys new|nothing", "coatcheck keys rotate --nothing"])
def test_a_span_that_is_wrong(span: str) -> None:
    with pytest.raises(AssertionError, match="nothing"):
        check_span(span)


@pytest.mark.parametrize(
    "command",
    [
        "coatcheck checkpoints diff 6 7 --run order-4711  # a comment",
        "coatcheck doctor --query 'WorkflowType=\"Agent\"' --limit 50",
        "export COATCHECK_KEYS=$(coatcheck keys new)",
        "pip install 'coatcheck[cli,temporal]'",
        "make docs",
        "python -m benchmarks.replay",
    ],
)
def test_a_command_that_is_right(command: str) -> None:
    check(command)
