"""The names that payloads have for a chain's rules, on the real server; and rules that change under running workflows."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from google.protobuf.message import Message
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, Worker

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Rule, Zstd
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference
from coatcheck.integrations.temporal import ENCODING, ClaimCheckPlugin
from tests.chains import KEY, keys_in
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.waiting import Waiting, double
from tests.integrations.temporal.workflows import echo, text

SIZE = 6_000
LARGE = 200_000
"""Characters: also what is needed for a moment only is too large to stay inline."""
SECONDS = timedelta(seconds=60)
RULES = (
    Rule("workflow:Named", store="start"),
    Rule("activity:echo", store="activity"),
    Rule("signal:hand", store="signal"),
    Rule("update:swap", store="update"),
    Rule("query:ask", store="query"),
    Rule("workflow", store="workflow"),
    Rule("*", store="others"),
)


@workflow.defn
class Child:
    @workflow.run
    async def run(self, data: str) -> str:
        return data[::-1]


@workflow.defn
class Named:
    def __init__(self) -> None:
        self.handed: list[str] = []

    @workflow.signal
    async def hand(self, data: str) -> None:
        self.handed.append(data)

    @workflow.update
    async def swap(self, data: str) -> str:
        return data[::-1]

    @workflow.query
    def ask(self, data: str) -> str:
        return data[::-1]

    @workflow.run
    async def run(self, data: str) -> str:
        await workflow.wait_condition(lambda: bool(self.handed))
        done = await workflow.execute_activity(echo, f"a{data}", start_to_close_timeout=SECONDS)
        near = await workflow.execute_local_activity(echo, f"b{data}", start_to_close_timeout=SECONDS)
        child = await workflow.execute_child_workflow(
            Child.run, f"c{data}", id=f"{workflow.info().workflow_id}-child"
        )
        return done + near + child


class Stores:
    """One for each rule, so that the store in a reference tells the name that its payload had."""

    def __init__(self) -> None:
        self.own = MemoryStore()
        self.others = {rule.store: MemoryStore() for rule in RULES if rule.store}

    def chain(self, *rules: Rule) -> Chain:
        offload = Offload(self.own, over=512, read_also=self.others)
        return Chain(Zstd(), Encrypt(Keyring(KEY)), offload, rules=rules, cache=PayloadCache(2**24))


def payloads_in(message: Message) -> Iterator[Payload]:
    """Yield our payloads, at whatever depth."""
    if isinstance(message, Payload):
        if message.metadata.get("encoding") == ENCODING:
            yield message
        return
    for field, value in message.ListFields():
        entry = field.message_type
        if entry is None:
            continue
        if entry.GetOptions().map_entry:
            values = value.values() if entry.fields_by_name["value"].message_type else ()
        else:
            values = value if isinstance(value, Sequence) else [value]
        for inner in values:
            yield from payloads_in(inner)


def names(history: WorkflowHistory) -> dict[str, set[str]]:
    """The stores that the references in each kind of event name."""
    found: dict[str, set[str]] = {}
    for event in history.events:
        for payload in payloads_in(event):
            if is_reference(payload.data):
                kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
                found.setdefault(kind, set()).add(Reference.from_bytes(payload.data).store)
    return found


async def run(server: TemporalServer, stores: Stores) -> WorkflowHistory:
    client = await Client.connect(server.address, plugins=[ClaimCheckPlugin(stores.chain(*RULES))])
    queue = workflow_id = f"named-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Named, Child], activities=[echo]):
        handle = await client.start_workflow(Named.run, text(SIZE), id=workflow_id, task_queue=queue)
        assert await handle.execute_update(Named.swap, text(SIZE, "u")) == text(SIZE, "u")[::-1]
        assert await handle.query(Named.ask, text(LARGE, "q")) == text(LARGE, "q")[::-1]
        await handle.signal(Named.hand, text(SIZE, "s"))
        result = await handle.result()
    assert result == f"a{text(SIZE)}b{text(SIZE)}{text(SIZE)[::-1]}c"
    return await client.get_workflow_handle(workflow_id).fetch_history()


async def test_each_payload_has_the_name_that_the_page_says(temporal_server: TemporalServer) -> None:
    stores = Stores()
    assert names(await run(temporal_server, stores)) == {
        "WORKFLOW_EXECUTION_STARTED": {"start"},
        "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": {"update"},
        "WORKFLOW_EXECUTION_UPDATE_COMPLETED": {"workflow"},
        "WORKFLOW_EXECUTION_SIGNALED": {"signal"},
        "ACTIVITY_TASK_SCHEDULED": {"activity"},
        "ACTIVITY_TASK_COMPLETED": {"activity"},
        "MARKER_RECORDED": {"activity"},
        "START_CHILD_WORKFLOW_EXECUTION_INITIATED": {"workflow"},
        "CHILD_WORKFLOW_EXECUTION_COMPLETED": {"workflow"},
        "WORKFLOW_EXECUTION_COMPLETED": {"workflow"},
    }
    assert len(await keys_in(stores.others["query"])) == 1
    assert await keys_in(stores.own) == await keys_in(stores.others["others"]) == []


@pytest.mark.parametrize(
    "after",
    [(), (Rule("*", inline=True),), (Rule("activity:*", over=10**6), Rule("*", store="others"))],
    ids=["none", "inline", "others"],
)
async def test_a_replay_compares_nothing_that_rules_change(
    temporal_server: TemporalServer, after: tuple[Rule, ...]
) -> None:
    stores = Stores()
    history = await run(temporal_server, stores)
    replayer = Replayer(workflows=[Named, Child], plugins=[ClaimCheckPlugin(stores.chain(*after))])
    await replayer.replay_workflow(history)


async def test_a_workflow_goes_on_under_other_rules(temporal_server: TemporalServer) -> None:
    stores = Stores()
    queue = workflow_id = f"waiting-{uuid.uuid4()}"
    first, second = text(SIZE, "1"), text(SIZE, "2")
    before = await Client.connect(
        temporal_server.address,
        plugins=[ClaimCheckPlugin(stores.chain(Rule("activity:*", store="activity")))],
    )
    async with Worker(before, task_queue=queue, workflows=[Waiting], activities=[double]):
        handle = await before.start_workflow(Waiting.run, first, id=workflow_id, task_queue=queue)
        await handle.execute_update(Waiting.until_it_waits)
    assert len(await keys_in(stores.others["activity"])) == 2
    after = await Client.connect(
        temporal_server.address, plugins=[ClaimCheckPlugin(stores.chain(Rule("*", inline=True)))]
    )
    async with Worker(after, task_queue=queue, workflows=[Waiting], activities=[double]):
        handle = after.get_workflow_handle_for(Waiting.run, workflow_id)
        await handle.signal(Waiting.give, second)
        assert await handle.result() == [first * 2, second * 2]
    assert len(await keys_in(stores.others["activity"])) == 2
