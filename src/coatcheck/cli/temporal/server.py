"""The Temporal server that a command reads."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.envconfig import ClientConfig

from coatcheck.cli.temporal.options import Server
from coatcheck.errors import ConfigError, EngineError
from coatcheck.integrations.temporal.refusals import engine_errors

_DEFAULT_ADDRESS = "localhost:7233"


async def connect(server: Server) -> Client:
    """Return a client that returns payloads as the server has them.

    Raises:
        ConfigError: The configuration of the ``temporal`` command cannot be read.
        EngineError: The server does not answer.
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
        raise EngineError(
            f"the Temporal server at {config['target_host']} does not answer: {error}",
            "Give --address or set TEMPORAL_ADDRESS; for TLS and API keys set TEMPORAL_TLS and TEMPORAL_API_KEY.",
        ) from None


def refusals_in_words() -> AbstractContextManager[None]:
    """Raise errors of the server in the block as ours: see :func:`~coatcheck.integrations.temporal.refusals.engine_errors`."""
    return engine_errors(
        "Check the workflow ID or the query, --namespace, and the permissions of the credentials."
    )


async def fetch(
    client: Client, workflow_id: str, run_id: str | None, on_event: Callable[[int, int], None]
) -> tuple[WorkflowHistory, str]:
    """Return the whole history of a run, and the run's ID.

    Args:
        client: Client of the server.
        workflow_id: ID of the workflow.
        run_id: ID of the run; None for the latest.
        on_event: Called after each event with the number of events so far, and in all.

    Raises:
        EngineError: The server refuses: there is no such workflow; or it does not answer.
    """
    with refusals_in_words():
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
        # By its ID from here on: a run that continues as new meanwhile would else give its successor.
        handle = client.get_workflow_handle(workflow_id, run_id=described.run_id)
        events: list[HistoryEvent] = []
        async for event in handle.fetch_history_events():
            events.append(event)
            on_event(len(events), max(described.history_length, len(events)))
    return WorkflowHistory(workflow_id, events), described.run_id
