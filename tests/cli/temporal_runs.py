"""Workflows on the real server for commands to look at."""

import asyncio
import subprocess
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import uuid4

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker

from coatcheck import Chain
from coatcheck.cli.demo.agent import Agent, AgentWorkflow, Talk
from coatcheck.integrations.temporal import ClaimCheckPlugin
from coatcheck.integrations.temporal.codec import Mode
from tests.engines.temporal import TemporalServer, find_temporal
from tests.integrations.temporal.workflows import Echo, echo

_T = TypeVar("_T")


def completed(work: Coroutine[Any, Any, _T]) -> _T:
    """What ``work`` gives, in an event loop of its own."""
    return asyncio.run(work)


async def hold_talk(server: TemporalServer, turns: int) -> tuple[str, WorkflowExecutionStatus]:
    """Run the demo's agent without a chain, and give its workflow ID and how it ended."""
    client = await Client.connect(server.address, namespace=server.namespace)
    name = f"agent-{turns}-{uuid4()}"

    async def begin(number: int) -> None:
        pass

    async with Worker(client, task_queue=name, workflows=[AgentWorkflow], activities=[Agent(begin).step]):
        handle = await client.start_workflow(AgentWorkflow.run, Talk(0, turns), id=name, task_queue=name)
        # A result that the server refuses ends it as well.
        await asyncio.wait([asyncio.ensure_future(handle.result())])
        status = (await handle.describe()).status
    assert status is not None
    return name, status


async def run_echo(
    server: TemporalServer, data: str, chain: Chain | None = None, mode: Mode = "codec"
) -> str:
    """Run a workflow that gives back ``data``, and give its ID."""
    plugins = [ClaimCheckPlugin(chain, mode=mode)] if chain else []
    client = await Client.connect(server.address, namespace=server.namespace, plugins=plugins)
    name = f"echo-{uuid4()}"
    async with Worker(client, task_queue=name, workflows=[Echo], activities=[echo]):
        assert await client.execute_workflow(Echo.run, data, id=name, task_queue=name) == data
    return name


def shown(server: TemporalServer, workflow_id: str, *options: str) -> bytes:
    """The history as the ``temporal`` command writes it."""
    binary = find_temporal()
    assert binary is not None
    where = ("--address", server.address, "--namespace", server.namespace)
    command = [binary, "workflow", "show", "--output", "json", "--workflow-id", workflow_id, *where, *options]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
