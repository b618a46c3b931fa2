"""A replay in a process of its own: ``... replay FOLDER STEP WORKFLOW HISTORY``. Writes its failure as JSON, null if there is none."""

import asyncio
import json
import sys
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Plugin, Replayer

from tests.integrations.temporal.rollout.steps import plugins_of
from tests.integrations.temporal.rollout.work import WORKFLOWS


async def main(folder: str, step: str, workflow_id: str, history: str) -> str | None:
    """Replay it."""
    plugins = [plugin for plugin in plugins_of(step, Path(folder)) if isinstance(plugin, Plugin)]
    replayer = Replayer(workflows=WORKFLOWS, plugins=plugins)
    result = await replayer.replay_workflow(
        WorkflowHistory.from_json(workflow_id, Path(history).read_text(encoding="utf-8")),
        raise_on_replay_failure=False,
    )
    return None if result.replay_failure is None else str(result.replay_failure)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(*sys.argv[1:]))))
