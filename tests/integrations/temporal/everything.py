"""One run of a workflow that has large payloads on every path, for tests of what it leaves in the history."""

import uuid
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.chains import KEY
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.workflows import Echo, Everything, State, echo, fail, remember, text

LARGE = 60_000
ACTIVITIES = [echo, remember, fail]
WORKFLOWS = [Echo, Everything]
NAMES = ("input", "memo", "signal", "update")
"""What is given to the workflow: of each, ``text(size, name)``."""


def chain_in(folder: Path, over: int = 1024) -> Chain:
    """With nothing in memory: each is like a process of its own."""
    offload = Offload(FileStore(folder), over=over)
    return Chain(Zstd(), Encrypt(Keyring(KEY)), offload, cache=PayloadCache(0))


async def connect(server: TemporalServer, chain: Chain, mode: Mode = "codec") -> Client:
    plugins = [ClaimCheckPlugin(chain, mode=mode)]
    return await Client.connect(server.address, namespace=server.namespace, plugins=plugins)


async def run_everything(client: Client, worker: Client, size: int = LARGE) -> WorkflowHandle[Any, Any]:
    """Run the workflow; its first run, which has all but the last of the payloads."""
    queue = workflow_id = f"everything-{uuid.uuid4()}"
    data = {name: text(size, name) for name in NAMES}
    async with Worker(worker, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await client.start_workflow(
            Everything.run,
            State(data["input"], []),
            id=workflow_id,
            task_queue=queue,
            memo={"note": data["memo"]},
        )
        assert await handle.query(Everything.peek, "?") == data["input"] + "?"
        await handle.signal(Everything.give, data["signal"])
        assert await handle.execute_update(Everything.change, data["update"]) == data["update"] + "!"
        assert await handle.result() == [data["input"]] * 5 + [data["memo"], data["signal"], data["update"]]
        assert await (await handle.describe()).memo() == {"note": data["memo"]}
    return client.get_workflow_handle(workflow_id, run_id=handle.first_execution_run_id)
