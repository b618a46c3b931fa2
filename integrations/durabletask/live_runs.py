"""Scopes that a task hub can still reach.

Two things keep a scope: its orchestration or entity is listed, by its ID; or a history, a state, an input or an output
refers to it. Payloads belong to who wrote them: the input of a sub-orchestration to its parent, the result of an
entity's operation to the entity, and either may be gone long before who was handed it. So whatever the hub shows is
searched for references.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import grpc  # type: ignore[import-untyped] # no stubs
from durabletask import history
from durabletask.client import EntityQuery, OrchestrationQuery, TaskHubGrpcClient

from coatcheck.errors import ConfigError, EngineError
from coatcheck.integrations.durabletask.scopes import ENGINE, instance_scope
from coatcheck.retention.live import LiveRuns, Origin, RunTag, run_tags_in
from coatcheck.scope import Scope


class DurableTaskRuns(LiveRuns):
    """The scopes of one task hub: of orchestrations until they are purged, and of entities. Reads only; for one task.

    Args:
        client: A client of the hub, without a payload store: references are looked for, not payloads.
        tenants: Tenants of its workers: ``ClaimCheckPayloadStore(chain, tenant=...)``.
        hub: The hub's name, if it has one that no other hub has: a sweep of another one is then refused.

    Raises:
        ConfigError: The client has a payload store.
    """

    def __init__(self, client: TaskHubGrpcClient, tenants: Sequence[str], *, hub: str = "") -> None:
        if client._payload_store is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - fails closed if it is not there
            raise ConfigError(
                "the client has a payload store, so it would show payloads in place of references",
                "Use a client without payload_store.",
            )
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._client = client
        self._hub = hub

    async def origins(self) -> Mapping[str, Origin]:
        """See :meth:`LiveRuns.origins`: the hub's name, as given."""
        return {tenant: Origin(self._hub) for tenant in self.tenants}

    async def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """See :meth:`LiveRuns.scopes`. Lists come first: who is purged after that has handed on its payloads before.

        Raises:
            CoatcheckError: The hub refuses or does not answer.
        """
        try:
            instances = await asyncio.to_thread(self._orchestrations)
            entities = await asyncio.to_thread(self._entities)
            for name, shown in (*instances.items(), *entities.items()):
                for tenant in self.tenants:
                    yield instance_scope(tenant, name)
                for tag in _tags(shown):
                    yield tag
            for name in instances:
                for tag in await asyncio.to_thread(self._history_tags, name):
                    yield tag
        except grpc.RpcError as error:
            raise EngineError(
                f"the task hub does not answer: {_code(error)}",
                "Nothing was deleted. Check its address and the credentials, and run it again.",
            ) from None

    def _orchestrations(self) -> dict[str, str]:
        """Return what the hub shows of each orchestration beside its history, by ID."""
        query = OrchestrationQuery(fetch_inputs_and_outputs=True)
        return {
            state.instance_id: " ".join(
                text or ""
                for text in (state.serialized_input, state.serialized_output, state.serialized_custom_status)
            )
            for state in self._client.get_all_orchestration_states(query)
        }

    def _entities(self) -> dict[str, str]:
        """Return the state of each entity, by ID."""
        query = EntityQuery(include_state=True, include_transient=True)
        return {str(entity.id): str(entity.get_state()) for entity in self._client.get_all_entities(query)}

    def _history_tags(self, instance: str) -> set[RunTag]:
        try:
            events = self._client.get_orchestration_history(instance)
        except grpc.RpcError as error:
            if _code(error) == grpc.StatusCode.NOT_FOUND.name:  # purged since it was listed
                return set()
            raise
        return {tag for event in events for tag in _tags(json.dumps(history.to_dict(event), default=str))}


def _tags(text: str) -> Iterator[RunTag]:
    return run_tags_in(text.encode())


def _code(error: grpc.RpcError) -> str:
    """Return the name of the status; the details could hold anything."""
    return str(error.code().name) if isinstance(error, grpc.Call) else type(error).__name__
