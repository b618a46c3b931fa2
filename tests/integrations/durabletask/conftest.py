"""A task hub for each test of this folder."""

from collections.abc import Iterator

import pytest

from tests.integrations.durabletask.hub import Hub, task_hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with task_hub() as started:
        yield started
