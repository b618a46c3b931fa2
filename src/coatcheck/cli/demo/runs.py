"""The demo's runs: each has a workflow, its worker processes, and measurements afterwards."""

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
from coatcheck.cli.demo.server import ServerAddress
from coatcheck.cli.demo.settings import WorkerSettings, connect

PATIENCE = timedelta(minutes=10)
"""A workflow that takes longer is stuck; the server then ends it, and the demo with it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run to make."""

    name: str
    turns: int
    chained: bool
    """True if the payloads pass through the chain."""
    kill_at: int | None = None
    """The turn during whose step the worker is killed."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run."""

    case: Case
    history: History
    stored_bytes: int
    objects: int
    wall_seconds: float
    equal: bool
    """True if the result is, byte for byte, the conversation of the seed."""
    worker_log: str
    """The last line that the run's last worker logged."""

    @property
    def completed(self) -> bool:
        """True if the workflow completed."""
        return self.history.status == "completed"

    @property
    def recovered(self) -> bool | None:
        """True if another process continued the work of the killed one; None if none was killed."""
        if self.case.kill_at is None:
            return None
        return self.completed and self.history.retried_steps > 0 and len(self.history.workers) > 1


def plan(turns: int) -> list[Case]:
    """Return the runs: plain, with the chain and killed, of ``turns`` turns each; then plain and with the chain, twice as long."""
    more = max(120, 2 * turns)
    return [
        Case("plain", turns, chained=False),
        Case("coatcheck-codec", turns, chained=True),
        Case("coatcheck-codec-recovered", turns, chained=True, kill_at=turns // 2),
        Case(f"plain-{more}", more, chained=False),
        Case(f"coatcheck-codec-{more}", more, chained=True),
    ]


class Runner:
    """Runs workflows on one server.

    Args:
        server: The Temporal server.
        folder: The folder for stores and logs; each run has its own folder in it.
        seed: The conversation.
    """

    def __init__(self, server: ServerAddress, folder: Path, seed: int) -> None:
        self._server = server
        self._folder = folder
        self._seed = seed
        self._key = Key.generate()

    async def run(self, case: Case, on_turn: OnTurn) -> RunResult:
        """Run one case until its workflow has ended, in whatever way.

        Args:
            case: The run to make.
            on_turn: Called with the number of each turn that starts.

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
        return RunResult(
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
    """Return the result's JSON as the workflow's converter wrote it; None if the workflow failed."""
    handle = client.get_workflow_handle(workflow_id, result_type=RawValue)
    try:
        result: RawValue = await handle.result()
    except WorkflowFailureError:
        return None
    return result.payload.data


def _as_json(messages: list[Message]) -> bytes:
    return DefaultPayloadConverter().to_payload(messages).data
