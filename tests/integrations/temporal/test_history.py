"""Temporal's event history, as the real server and the real ``temporal`` command give it."""

import asyncio
import json
from collections.abc import Iterable

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory

from coatcheck import Chain, Encrypt, FormatError, Keyring, MemoryStore, Offload, PayloadCache, Scope, Zstd
from coatcheck.doctor.journal import Form
from coatcheck.doctor.places import places
from coatcheck.integrations.temporal import ClaimCheckCodec
from coatcheck.integrations.temporal.codec import Mode
from coatcheck.integrations.temporal.history import history_from_json, journal_of, payloads_of, with_codec
from tests.chains import KEY
from tests.cli.temporal_runs import shown
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.everything import connect, run_everything

LARGE = 20_000
FEW = 20
"""Bytes: numbers and times take more or fewer."""
Sizes = dict[str, list[int]]


def chain_of(store: MemoryStore) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=1024), cache=PayloadCache(2**24))


async def everything(client: Client) -> WorkflowHistory:
    """The history of the first run of a workflow that does everything."""
    return await (await run_everything(client, client, LARGE)).fetch_history()


async def plain_history(server: TemporalServer) -> WorkflowHistory:
    return await everything(await Client.connect(server.address, namespace=server.namespace))


async def test_every_payload_is_found_once_and_named(temporal_server: TemporalServer) -> None:
    history = await plain_history(temporal_server)
    found = {
        (EventType.Name(event.event_type).removeprefix("EVENT_TYPE_"), where)
        for event in history.events
        for where, _ in payloads_of(event)
    }
    assert found >= {
        ("WORKFLOW_EXECUTION_STARTED", "input"),
        ("WORKFLOW_EXECUTION_STARTED", "memo[note]"),
        ("WORKFLOW_EXECUTION_SIGNALED", "input"),
        ("WORKFLOW_EXECUTION_UPDATE_ACCEPTED", "accepted_request.input.args"),
        ("WORKFLOW_EXECUTION_UPDATE_COMPLETED", "outcome.success"),
        ("ACTIVITY_TASK_SCHEDULED", "input"),
        ("ACTIVITY_TASK_COMPLETED", "result"),
        ("ACTIVITY_TASK_FAILED", "failure.application_failure_info.details"),
        ("MARKER_RECORDED", "details[result]"),
        ("START_CHILD_WORKFLOW_EXECUTION_INITIATED", "input"),
        ("CHILD_WORKFLOW_EXECUTION_COMPLETED", "result"),
        ("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", "input"),
        ("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", "memo[note]"),
    }
    for event in history.events:
        names = [where for where, _ in payloads_of(event)]
        assert len(names) == len(set(names))
    # Whatever is large is a payload.
    journal = journal_of(history)
    assert journal.size - sum(place.size for place in places(journal)) < 20_000


async def test_the_journal_says_what_the_history_says(temporal_server: TemporalServer) -> None:
    history = await plain_history(temporal_server)
    journal = journal_of(history)
    assert journal.case == f"{history.workflow_id}/{history.run_id}"
    assert journal.size == sum(event.ByteSize() for event in history.events)
    by_number = {event.number: event for event in journal.events}
    assert list(by_number) == list(range(1, len(history.events) + 1))
    started, failed = (
        next(event for event in journal.events if event.kind == kind)
        for kind in ("ActivityTaskStarted", "ActivityTaskFailed")
    )
    assert (started.step, failed.step) == ("echo", "fail")
    for event in journal.events:
        assert event.ends_turn is (event.kind == "WorkflowTaskCompleted")
        if event.batch:
            assert by_number[event.batch].ends_turn
    scheduled = [event for event in journal.events if event.kind == "ActivityTaskScheduled"]
    assert [event.step for event in scheduled] == ["echo", "remember", "fail"]
    assert all(event.batch for event in scheduled)


async def test_a_file_of_the_temporal_command_says_the_same(temporal_server: TemporalServer) -> None:
    history = await plain_history(temporal_server)
    for order in ((), ("--reverse",)):
        options = ("--run-id", history.run_id, *order)
        written = await asyncio.to_thread(shown, temporal_server, history.workflow_id, *options)
        read = history_from_json(written)
        assert read.workflow_id == history.workflow_id
        assert journal_of(read) == journal_of(history)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"events": 3}',
        b'{"events": []}',
        b'{"events": [{"eventId": "hunter2"}]}',
        b'{"events": [{"eventId": "1"}]}',
        b"[" * 100_000,
        json.dumps(
            {
                "events": [
                    {"eventId": "1", "workflowExecutionStartedEventAttributes": {}},
                    {"eventId": "3", "eventType": "EVENT_TYPE_TIMER_FIRED"},
                ]
            }
        ).encode(),
    ],
    ids=range(10),
)
def test_what_is_no_whole_history_is_refused_and_not_repeated(given: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        history_from_json(given)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def sizes(events: Iterable[HistoryEvent]) -> Sizes:
    """Bytes by kind, but for workflow tasks: how many there are depends on who is quicker."""
    found: dict[str, list[int]] = {}
    for event in events:
        found.setdefault(EventType.Name(event.event_type), []).append(event.ByteSize())
    return {kind: sorted(of_it) for kind, of_it in found.items() if "WORKFLOW_TASK" not in kind}


def total(found: Sizes) -> int:
    return sum(map(sum, found.values()))


async def test_the_history_with_a_codec_is_that_of_a_run_with_it(temporal_server: TemporalServer) -> None:
    """What is foreseen is, but for a few bytes, what comes to pass; of failures, whose traces are compressed too, less."""
    plain, chained = MemoryStore(), MemoryStore()
    history = await plain_history(temporal_server)
    codec = ClaimCheckCodec(chain_of(plain), Scope("doctor", "run"))
    foreseen = [await with_codec(event, codec) for event in history.events]
    real = await everything(await connect(temporal_server, chain_of(chained)))
    expected, came = sizes(foreseen), sizes(real.events)
    assert expected.keys() == came.keys()
    for kind in came:
        if "ACTIVITY_TASK" in kind or kind.endswith("MARKER_RECORDED"):
            assert sum(came[kind]) <= sum(expected[kind]) + FEW
        else:
            assert came[kind] == pytest.approx(expected[kind], abs=FEW)
    assert total(expected) < total(sizes(history.events)) / 10
    before = WorkflowHistory(history.workflow_id, history.events)
    assert journal_of(before) == journal_of(history), "the history itself is left as it was"


@pytest.mark.parametrize("mode", ["codec", "native"])
async def test_what_is_claim_checked_is_recognised_and_left(
    temporal_server: TemporalServer, mode: Mode
) -> None:
    store = MemoryStore()
    history = await everything(await connect(temporal_server, chain_of(store), mode))
    journal = journal_of(history)
    forms = {place.form for place in places(journal)}
    assert forms >= {Form.REFERENCE, Form.INLINE}
    assert Form.UNKNOWN not in forms
    assert Form.EXTERNAL not in forms
    (memo, *_) = (place for place in places(journal) if place.where == "memo[note]")
    assert memo.form is Form.REFERENCE
    assert LARGE < memo.stands_for < LARGE + 200
    codec = ClaimCheckCodec(chain_of(store), Scope("doctor", "run"))
    for event in history.events:
        if not any(place.form is Form.PLAIN and place.number == event.event_id for place in places(journal)):
            assert await with_codec(event, codec) == event


async def test_headers_and_search_attributes_do_not_pass_a_codec() -> None:
    event = HistoryEvent(event_id=1)
    started = event.workflow_execution_started_event_attributes
    started.header.fields["trace"].data = b"x" * 5000
    started.search_attributes.indexed_fields["Customer"].data = b"x" * 5000
    assert [where for where, _ in payloads_of(event)] == [
        "search_attributes[Customer]",
        "header[trace]",
    ]
    assert await with_codec(event, ClaimCheckCodec(chain_of(MemoryStore()), Scope("t", "r"))) == event


def test_damage_and_other_storage_are_told_apart() -> None:
    event = HistoryEvent(event_id=1)
    payloads = event.activity_task_scheduled_event_attributes.input.payloads
    payloads.add(metadata={"encoding": b"binary/coatcheck"}, data=b"damaged")
    payloads.add(metadata={"encoding": b"other"}).external_payloads.add(size_bytes=70_000)
    (first, second) = journal_of(WorkflowHistory("w", [event]), "r").events[0].payloads
    assert (first.where, first.form, first.stands_for) == ("input[0]", Form.UNKNOWN, 7)
    assert (second.where, second.form, second.stands_for) == ("input[1]", Form.EXTERNAL, 70_000)
