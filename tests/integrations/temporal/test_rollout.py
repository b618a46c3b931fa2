"""coatcheck is rolled out and back on the real server, each step by processes that have done nothing yet."""

from pathlib import Path

import pytest

from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.fresh import OLDEST_CRYPTOGRAPHY, Fresh
from tests.integrations.temporal.rollout.drill import Drill


@pytest.mark.parametrize("packages", [(), (OLDEST_CRYPTOGRAPHY,)], ids=["installed", "oldest cryptography"])
async def test_a_roll_out_stalled_every_run_in_flight(
    temporal_server: TemporalServer, tmp_path: Path, packages: tuple[str, ...]
) -> None:
    drill = Drill(temporal_server, tmp_path, Fresh(packages))
    await drill.go()
    assert await drill.failed_tasks() == []
