"""Other plug-ins that set a payload converter, before ours and after it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
from temporalio.openai_agents.testing import ResponseBuilders, TestModel, TestModelProvider
from temporalio.plugin import SimplePlugin
from temporalio.worker import Replayer, Worker

from benchmarks.loads.counted import Counted
from coatcheck import MemoryStore, Store
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.agent import Ask
from tests.integrations.temporal.paths.clerk import File, Form
from tests.integrations.temporal.paths.path import is_ours, places
from tests.integrations.temporal.paths.site import chain_on
from tests.integrations.temporal.paths.values import CANARY, large

MODES: tuple[Mode, ...] = ("codec", "native")
SPANS = {"WorkflowExecutionStarted header[__openai_span]", "ActivityTaskScheduled header[__openai_span]"}
"""What the agents' tracing sends in headers. The SDK leaves headers out unless the client says ``header_codec_behavior``."""
FIRST = pytest.mark.parametrize("first", [True, False], ids=["ours first", "ours last"])


class Way:
    """A worker with our plug-in and another one, in one order or the other."""

    def __init__(self, server: TemporalServer, mode: Mode, other: SimplePlugin, *, first: bool) -> None:
        self.store = MemoryStore()
        self._server = server
        self._mode: Mode = mode
        self._other = other
        self._first = first

    async def gives(self, workflow: type[Any], argument: Any) -> Any:
        """What the workflow gives back, after its history was looked at and replayed."""
        plugins = self._plugins(self.store)
        client = await Client.connect(self._server.address, namespace=self._server.namespace, plugins=plugins)
        queue = f"together-{uuid4()}"
        async with Worker(client, task_queue=queue, workflows=[workflow]):
            handle = await client.start_workflow(workflow.run, argument, id=queue, task_queue=queue)
            result = await handle.result()
        history = await handle.fetch_history()
        assert {place for place, payload in places(history) if not is_ours(payload)} <= SPANS
        assert CANARY.encode() not in b"".join(event.SerializeToString() for event in history.events)
        counted = Counted(self.store)
        await Replayer(workflows=[workflow], plugins=self._plugins(counted)).replay_workflow(history)
        assert counted.requests["puts"] == 0
        return result

    def _plugins(self, store: Store) -> list[SimplePlugin]:
        ours = ClaimCheckPlugin(chain_on(store), mode=self._mode)
        return [ours, self._other] if self._first else [self._other, ours]


def with_pydantic(converter: DataConverter | None) -> DataConverter:
    """As a plug-in should: the payload converter, and nothing else of what is there."""
    return replace(converter or DataConverter.default, payload_converter_class=PydanticPayloadConverter)


@FIRST
@pytest.mark.parametrize("mode", MODES)
async def test_with_a_plugin_that_sets_pydantics_converter(
    temporal_server: TemporalServer, mode: Mode, *, first: bool
) -> None:
    way = Way(temporal_server, mode, SimplePlugin("pydantic", data_converter=with_pydantic), first=first)
    form = Form(text=large("form"), copies=(1, 2))
    assert await way.gives(File, form) == Form(text=form.text, copies=(1, 2, len(form.text)))


@FIRST
@pytest.mark.parametrize("mode", MODES)
async def test_with_the_plugin_for_openai_agents(
    temporal_server: TemporalServer, mode: Mode, *, first: bool
) -> None:
    """The model is a stand-in: its calls and their payloads are those of any other."""
    answer = large("answer")
    model = TestModel.returning_responses([ResponseBuilders.output_message(answer)])
    other = OpenAIAgentsPlugin(
        model_params=ModelActivityParameters(start_to_close_timeout=timedelta(seconds=20)),
        model_provider=TestModelProvider(model),
    )
    assert await Way(temporal_server, mode, other, first=first).gives(Ask, large("prompt")) == answer


@pytest.mark.parametrize("mode", MODES)
async def test_with_pydantics_converter_as_its_documentation_has_it(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    client = await Client.connect(
        temporal_server.address,
        namespace=temporal_server.namespace,
        data_converter=pydantic_data_converter,
        plugins=[ClaimCheckPlugin(chain_on(MemoryStore()), mode=mode)],
    )
    queue = f"pydantic-{uuid4()}"
    form = Form(text=large("form"), copies=())
    async with Worker(client, task_queue=queue, workflows=[File]):
        filed = await client.execute_workflow(File.run, form, id=queue, task_queue=queue)
    assert filed == Form(text=form.text, copies=(len(form.text),))
