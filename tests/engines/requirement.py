"""What happens where a real server cannot be had."""

import os
from typing import NoReturn

import pytest


def unavailable(engine: str, why: str) -> NoReturn:
    """Skip with one line; fail where ``COATCHECK_REQUIRE_ENGINES=1`` says that every server must run."""
    said = f"{engine} could not be had: {' '.join(why.split())}"
    if os.environ.get("COATCHECK_REQUIRE_ENGINES") == "1":
        pytest.fail(said, pytrace=False)
    pytest.skip(said)
