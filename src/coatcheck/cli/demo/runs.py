"""The demo's runs: each a workflow, its worker processes, and what is measured afterwards."""

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.converter import DefaultPayloadConverter

from coatcheck import Key, Keyring
from coatcheck.cli.demo.agent import AgentWorkflow, Talk
from coatcheck.cli.demo.conversation import Message, conversation
from coatcheck.cli.demo.history import History, read_history
from coatcheck.cli.demo.process import OnTurn, WorkerProcess, worker_process
from coatcheck.cli.demo.server import Server
from coatcheck.cli.demo.settings import WorkerSettings, connect

PATIENCE = timedelta(minutes=10)
"""A workflow that takes longer is stuck; the server then ends it, and the demo with it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run to make."""

    name: str
    turns: int
    chained: bool
    """Whether the payloads take the chain."""
    kill_at: int | None = None
    """The turn in the middle of whose step the worker is killed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run gave."""

    case: Case
    history: History
    stored_bytes: int
    objects: int
    wall_seconds: float
    equal: bool
    """Whether the result is, byte for byte, the conversation that the seed stands for."""
    worker_log: str
    """The last line that the run's last worker logged."""

    @property
    def completed(self) -> bool:
        """Whether the workflow came to its end."""
        return self.history.status == "completed"

    @property
    def recovered(self) -> bool | None:
        """Whether another process finished what the killed one began; None where none was killed."""
        if self.case.kill_at is None:
            return None
        return self.completed and self.history.retried_steps > 0 and len(self.history.workers) > 1


def plan(turns: int) -> list[Case]:
    """The runs for a first figure of ``turns``: plain, chain and killed, then twice as long."""
    more = max(120, 2 * turns)
    return [
        Case("plain", turns, chained=False),
        Case("coatcheck-codec", turns, chained=True),
        Case("coatcheck-codec-recovered", turns, chained=True, kill_at=turns // 2),
        Case(f"plain-{more}", more, chained=False),
        Case(f"coatcheck-codec-{more}", more, chained=True),
    ]


class Runner:
    """Makes runs on one server.

    Args:
        server: Where.
        folder: For stores and logs; each run has a folder of its own in it.
        seed: Which conversation.
    """

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        self._server = server
        self._folder = folder
        self._seed = seed
        self._key = Key.generate()

    async def run(self, case: Case, on_turn: OnTurn) -> Outcome:
        """Make one run, until its workflow has ended in whatever way.

        Args:
            case: Which.
            on_turn: Told the number of each turn that gets under way.

        Raises:
            DemoError: A worker process ended by itself.
        """
        store = self._folder / case.name
        store.mkdir()
        settings = WorkerSettings(
            server=self._server,
            task_queue=case.name,
            folder=str(store) if case.chained else None,
            hold_at=case.kill_at,
        )
        client = await connect(self._server, settings.folder, Keyring(self._key))
        async with AsyncExitStack() as workers:

            async def start(settings: WorkerSettings) -> WorkerProcess:
                environment = {"COATCHECK_KEYS": self._key.to_text()}
                log = self._folder / f"{case.name}.log"
                return await workers.enter_async_context(worker_process(settings, environment, log, on_turn))

            worker = await start(settings)
            began = time.monotonic()
            handle = await self._begin(client, case)
            if case.kill_at is not None:
                await worker.says(f"turn {case.kill_at}")
                await worker.kill()
                worker = await start(replace(settings, hold_at=None))
            result = await worker.while_alive(_result(client, case.name))
            seconds = time.monotonic() - began
        files = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
        return Outcome(
            case=case,
            history=await read_history(handle),
            stored_bytes=sum(files),
            objects=len(files),
            wall_seconds=seconds,
            equal=result == _as_json(conversation(self._seed, case.turns)),
            worker_log=worker.last_words(),
        )

    async def _begin(self, client: Client, case: Case) -> WorkflowHandle[AgentWorkflow, list[Message]]:
        return await client.start_workflow(
            AgentWorkflow.run,
            Talk(self._seed, case.turns),
            id=case.name,
            task_queue=case.name,
            execution_timeout=PATIENCE,
        )


async def _result(client: Client, workflow_id: str) -> bytes | None:
    """The result's JSON, as it left the workflow's converter; None if the workflow failed."""
    handle = client.get_workflow_handle(workflow_id, result_type=RawValue)
    try:
        result: RawValue = await handle.result()
    except WorkflowFailureError:
        return None
    return result.payload.data


def _as_json(messages: list[Message]) -> bytes:
    return DefaultPayloadConverter().to_payload(messages).data
