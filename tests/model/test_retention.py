"""The retention protocol loses nothing, in all states that a small world can get into; without any of its rules it does."""

import pytest

from tests.engines.requirement import unavailable
from tests.model.checker import BROKEN, SMALL, check, missing

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _spin() -> None:
    lacking = missing()
    if lacking:
        unavailable("Spin", f"there is no `{lacking}` here; install Debian's packages spin and gcc")


@pytest.mark.parametrize("world", SMALL)
def test_nothing_is_lost_and_no_orphan_stays(world: str) -> None:
    outcome = check(*SMALL[world])
    assert outcome.violated is None
    assert outcome.states > (500 if "TENANT_SCOPE" in SMALL[world] else 100_000)


@pytest.mark.parametrize("rule", BROKEN)
def test_without_this_rule_something_is_lost(rule: str) -> None:
    assert check(f"BREAK_{rule}", *BROKEN[rule]).violated is not None
