"""The Temporal server that a command looks at."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from coatcheck.cli.temporal.options import Server
from coatcheck.errors import CoatcheckError, ConfigError

_DEFAULT_ADDRESS = "localhost:7233"


async def connect(server: Server) -> Client:
    """A client that shows payloads as the server has them.

    Raises:
        ConfigError: The configuration of the ``temporal`` command cannot be read.
        CoatcheckError: The server does not answer.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except Exception as error:
        raise ConfigError(
            "the configuration of Temporal's clients cannot be read", "Check temporal.toml and TEMPORAL_*."
        ) from error
    config["target_host"] = server.address or config.get("target_host", _DEFAULT_ADDRESS)
    config["namespace"] = server.namespace or config.get("namespace", "default")
    try:
        return await Client.connect(**config)
    except RuntimeError as error:
        raise CoatcheckError(
            f"the Temporal server at {config['target_host']} does not answer: {error}",
            "Give its --address, or set TEMPORAL_ADDRESS; for TLS and API keys TEMPORAL_TLS and TEMPORAL_API_KEY.",
        ) from None


@asynccontextmanager
async def refusals_in_words() -> AsyncIterator[None]:
    """Turn what the server refuses into an error of ours.

    Raises:
        CoatcheckError: It refused.
    """
    try:
        yield
    except RPCError as error:
        raise CoatcheckError(
            f"the Temporal server says {error.status.name.lower().replace('_', ' ')}: {error.message}",
            "Check the workflow ID or the query, --namespace, and what the credentials may do.",
        ) from None


async def fetch(
    client: Client, workflow_id: str, run_id: str | None, on_event: Callable[[int, int], None]
) -> tuple[WorkflowHistory, str]:
    """The whole history of a run, and the run's ID.

    Args:
        client: Of the server.
        workflow_id: Which workflow.
        run_id: Which run; None for the latest.
        on_event: Told after each event how many there are so far, and of how many in all.

    Raises:
        CoatcheckError: The server refuses it: there is no such workflow.
    """
    async with refusals_in_words():
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
        # By its ID from here on: a run that continues as new meanwhile would else give its successor.
        handle = client.get_workflow_handle(workflow_id, run_id=described.run_id)
        events: list[HistoryEvent] = []
        async for event in handle.fetch_history_events():
            events.append(event)
            on_event(len(events), max(described.history_length, len(events)))
    return WorkflowHistory(workflow_id, events), described.run_id
