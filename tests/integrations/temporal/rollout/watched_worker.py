"""The worker with somebody who watches the sandbox: ``... watched_worker OUTPUT ADDRESS QUEUE FOLDER STEP``.

Writes down, as JSON, every function of ours that was called in there, and every module of ours that was imported.
"""

import asyncio
import json
import sys
import threading
from pathlib import Path
from types import FrameType

from temporalio import workflow

import coatcheck
from tests.integrations.temporal.rollout.worker import main

_OURS = f"{Path(coatcheck.__file__).parent}/"

called: set[str] = set()


def watch(frame: FrameType, event: str, argument: object) -> None:
    """Take note of a call."""
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(_OURS) and workflow.unsafe.in_sandbox():
        called.add(f"{code.co_filename.removeprefix(_OURS)} {code.co_qualname}")


if __name__ == "__main__":
    output, *arguments = sys.argv[1:]
    threading.setprofile(watch)
    sys.setprofile(watch)
    asyncio.run(main(*arguments))
    Path(output).write_text(json.dumps(sorted(called)), encoding="utf-8")
