"""The process of one case: client, worker and replayer. ``python -m benchmarks.history.process SETTINGS``.

Its tasks and answers are the methods of :class:`Process`. Seconds are on its own clock; ``cpu`` is the processor time of all
its threads.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.client import Client, WorkflowHandle, WorkflowHistoryEventFilterType
from temporalio.common import RawValue
from temporalio.converter import DefaultPayloadConverter
from temporalio.worker import Replayer, Worker

from benchmarks.engines.helper import Answer, Helper, Task, helper, obey
from benchmarks.engines.s3 import Bucket
from benchmarks.history.cases import Wiring, environment, wired
from benchmarks.history.workflow import WaitingAgentWorkflow
from coatcheck.cli.demo.agent import Agent, AgentWorkflow, Talk
from coatcheck.cli.demo.conversation import conversation

SEED = 0
_WORKFLOWS = [AgentWorkflow, WaitingAgentWorkflow]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of such a process."""

    address: str
    namespace: str
    case: str
    bucket: Bucket

    @classmethod
    def of(cls, client: Client, case: str, bucket: Bucket) -> "Settings":
        """Build the settings for the server of ``client``."""
        return cls(client.service_client.config.target_host, client.namespace, case, bucket)

    def to_text(self) -> str:
        """Return the settings as one line, for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Settings":
        """Parse the output of :meth:`to_text`."""
        found = json.loads(text)
        return cls(**{**found, "bucket": Bucket(**found["bucket"])})


@asynccontextmanager
async def process_of(settings: Settings) -> AsyncIterator[Helper]:
    """Start such a process; kill it at the end."""
    async with helper(__name__, settings.to_text(), environment=environment(settings.case)) as process:
        yield process


class Steps:
    """The times at which steps had their input. Steps stop at the one that is waited for."""

    def __init__(self) -> None:
        self.begun: dict[int, float] = {}
        """Seconds on the process's clock, by step."""
        self._changed = asyncio.Condition()
        self._hold_at: int | None = None

    async def begin(self, number: int) -> None:
        """Record that a step has its input; the agent calls it."""
        self.begun.setdefault(number, time.perf_counter())
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._hold_at is None or number < self._hold_at)

    async def reached(self, number: int) -> None:
        """Let the run continue up to this step, and wait until it has its input."""
        async with self._changed:
            self._hold_at = number
            self._changed.notify_all()
            await self._changed.wait_for(lambda: number in self.begun)


class Process:
    """The tasks: each is a method, named by ``do``."""

    def __init__(self, wiring: Wiring, client: Client) -> None:
        self._wiring = wiring
        self._client = client
        self._steps = Steps()
        self._taking_over: asyncio.Task[None] | None = None

    async def obey(self, task: Task) -> Answer:
        """Do one task."""
        name = task.pop("do")
        answer: Answer = await getattr(self, name)(**task)
        return answer

    async def live(self, workflow: str, turns: int) -> Answer:
        """Run the agent to its end; return the seconds from its start until the server has its result."""
        async with self._worker(workflow):
            with _measured() as took:
                handle = await self._client.start_workflow(
                    AgentWorkflow.run, Talk(SEED, turns), id=workflow, task_queue=workflow
                )
                await _closed(handle)
        return took

    async def wait(self, workflow: str, turns: int) -> Answer:
        """Run the agent until it has taken all its turns; the run then waits for a signal."""
        async with self._worker(workflow):
            handle = await self._client.start_workflow(
                WaitingAgentWorkflow.run, Talk(SEED, turns), id=workflow, task_queue=workflow
            )
            done = 0
            async for event in handle.fetch_history_events(wait_new_event=True):
                done += event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
                if done == turns and event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                    break
        return {}

    async def resume(self, workflow: str) -> Answer:
        """Take over a waiting run and complete it, as a worker after a restart, with nothing in memory."""
        handle = self._client.get_workflow_handle(workflow)
        # The run is assigned to a worker that has ended. The server would notice after 10 seconds, which are not measured.
        await self._client.workflow_service.reset_sticky_task_queue(
            ResetStickyTaskQueueRequest(
                namespace=self._client.namespace, execution=WorkflowExecution(workflow_id=workflow)
            )
        )
        await handle.signal(WaitingAgentWorkflow.end)
        with _measured() as took:
            async with self._worker(workflow):
                await _closed(handle)
        return took

    async def take_over(self, workflow: str, until: int) -> Answer:
        """Work until step ``until`` has its input, and stay in it; return the seconds from start to each step's input."""
        self._taking_over = asyncio.create_task(self._work_on(workflow))
        start = time.perf_counter()
        await self._steps.reached(until)
        return {str(number): at - start for number, at in self._steps.begun.items()}

    async def go_on(self, until: int) -> Answer:
        """Leave the present step, and stay in step ``until``."""
        await self._steps.reached(until)
        return {}

    async def replay(self, workflow: str) -> Answer:
        """Replay the present history of the run."""
        history = await self._client.get_workflow_handle(workflow).fetch_history()
        replayer = Replayer(
            workflows=_WORKFLOWS,
            namespace=self._client.namespace,
            data_converter=self._wiring.data_converter,
            plugins=self._wiring.plugins,
        )
        with _measured() as took:
            await replayer.replay_workflow(history)
        return took

    async def equal(self, workflow: str, turns: int) -> Answer:
        """Return True in ``equal`` if the run's result is, byte for byte, the expected conversation."""
        result: RawValue = await self._client.get_workflow_handle(workflow, result_type=RawValue).result()
        wanted = DefaultPayloadConverter().to_payload(conversation(SEED, turns))
        return {"equal": result.payload.data == wanted.data}

    async def _work_on(self, task_queue: str) -> None:
        async with self._worker(task_queue):
            await asyncio.Event().wait()

    @asynccontextmanager
    async def _worker(self, task_queue: str) -> AsyncIterator[Worker]:
        async with Worker(
            self._client,
            task_queue=task_queue,
            workflows=_WORKFLOWS,
            activities=[Agent(self._steps.begin).step],
            identity=f"worker-{os.getpid()}",
        ) as worker:
            yield worker


@contextmanager
def _measured() -> Iterator[Answer]:
    took: Answer = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield took
    took |= {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


async def _closed(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait for the end of a run without decoding its result, so that only the worker's requests are counted."""
    async for _ in handle.fetch_history_events(
        wait_new_event=True, event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
    ):
        pass


async def _main(settings: Settings) -> None:
    async with wired(settings.case, settings.bucket) as wiring:
        client = await Client.connect(
            settings.address,
            namespace=settings.namespace,
            data_converter=wiring.data_converter,
            plugins=wiring.plugins,
        )
        await obey(Process(wiring, client).obey)


if __name__ == "__main__":
    asyncio.run(_main(Settings.from_text(sys.argv[1])))
