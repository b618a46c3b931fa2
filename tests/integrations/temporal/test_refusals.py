"""What a Temporal server refuses: whose fault it is, and whether to ask again."""

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from coatcheck import EngineError
from coatcheck.integrations.temporal.live_runs import TemporalRuns
from coatcheck.integrations.temporal.refusals import engine_errors
from tests.engines.temporal import TemporalServer

AWAY = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNKNOWN"}
REFUSALS = {"NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT", "UNIMPLEMENTED"}


@pytest.mark.parametrize("status", sorted(AWAY | REFUSALS))
def test_a_server_that_is_away_and_one_that_refuses_were_not_told_apart(status: str) -> None:
    with pytest.raises(EngineError, match="the words of the server") as caught, engine_errors("Do this."):
        raise RPCError("the words of the server", RPCStatusCode[status], b"")
    assert caught.value.retryable is (status in AWAY)
    assert caught.value.todo.endswith("Do this.")
    assert ("Retry" in caught.value.todo) is caught.value.retryable


async def test_a_namespace_that_is_not_there_was_asked_for_again_and_again(
    temporal_server: TemporalServer,
) -> None:
    client = await Client.connect(temporal_server.address)
    live = TemporalRuns(client, ["nowhere"], callers_listed=True)
    with pytest.raises(EngineError, match=r"not found.*nowhere") as caught:
        await live.origins()
    assert not caught.value.retryable
