"""The store of these tests, and what it stands on."""

from pathlib import Path

import pytest

from coatcheck.stores.cached import CachedStore
from tests.stores.cached.parts import Inner


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(inner: Inner, folder: Path) -> CachedStore:
    return CachedStore(inner, folder)
