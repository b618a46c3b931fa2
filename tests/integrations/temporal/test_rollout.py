"""coatcheck is rolled out and back on the real server, each step by a process that has done nothing yet.

Here with what is installed; ``python -m tests.versions`` does it with every pair of releases that is supported.
"""

from pathlib import Path

import pytest

from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.fresh import Fresh
from tests.integrations.temporal.rollout.drill import Drill


@pytest.mark.long
async def test_a_roll_out_stalled_every_run_in_flight(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    drill = Drill(temporal_server, tmp_path, Fresh())
    await drill.go()
    assert await drill.failed_tasks() == []
