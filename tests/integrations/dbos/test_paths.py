"""All that DBOS serializes, on its real databases: it comes back, small, and in the scope that docs/dbos.md names."""

import asyncio
from pathlib import Path

import pytest
from dbos import DBOS, DBOSClient, SetWorkflowID, WorkflowHandle

from coatcheck.format.shown import MESSAGE
from tests.integrations.dbos.agents import (
    QUEUE,
    Database,
    OopsError,
    agent,
    everything,
    failing,
    launched,
    parent,
    portable,
    serializer_on,
    text,
)

ASKED = text("asked")
TOLD = [text("message"), text("failure"), [ASKED, text(f"{ASKED[:10]}/0")]]
DBOS_OWN = ("__DBOS_STREAM_CLOSED__",)
"""What DBOS writes without asking a serializer, beside deadlines of its waits."""


def sealed_texts(database: Database) -> list[str]:
    """All that is in the database, but for DBOS's own; a reference or a small envelope each."""
    texts = [text_ for rows in database.texts().values() for text_ in rows]
    theirs = [text_ for text_ in texts if not text_.startswith(MESSAGE)]
    assert all(text_.strip('"') in DBOS_OWN or float(text_) > 0 for text_ in theirs)
    return [text_ for text_ in texts if text_.startswith(MESSAGE)]


def test_whatever_a_workflow_writes_comes_back_and_is_small(url: str, tmp_path: Path) -> None:
    with launched(url, serializer_on(tmp_path / "store")) as database:
        with SetWorkflowID("w"):
            started = DBOS.start_workflow(everything, ASKED)
        DBOS.send("w", text("message"), "topic")
        assert started.get_result() == TOLD
        assert DBOS.get_event("w", "event") == text("event")
        assert list(DBOS.read_stream("w", "stream")) == [text("stream")]
        texts = sealed_texts(database)
        assert len(texts) > 10
        assert max(map(len, texts)) < 512
        # The child's result is the parent's too: no object more. What comes from outside has a scope of its own.
        assert database.runs("w", "w-7") == {
            "workflow_input.inputs": {"?", "w"},
            "workflow_output.output": {"w", "w-7"},
            "operation_outputs.output": {"?", "w-7"},
            "operation_outputs.error": {"w"},
            "notifications.message": {"?"},
            "workflow_events.value": {"w"},
            "workflow_events_history.value": {"w"},
            "streams.value": {"w"},
        }


def test_a_fork_reads_what_the_other_workflow_wrote(url: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with launched(url, serializer_on(store)), SetWorkflowID("w"):
        result = agent(ASKED, 3)
    # In a process that has nothing in memory.
    with launched(url, serializer_on(store)) as database:
        forked = DBOS.fork_workflow("w", 3)
        assert forked.get_result(polling_interval_sec=0.05) == result
        assert database.runs("w", forked.workflow_id)["operation_outputs.output"] == {"w", forked.workflow_id}


def test_the_result_of_a_child_was_stored_once_more_for_its_parent(sqlite: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with launched(sqlite, serializer_on(store)) as database:

        async def ask() -> str:
            with SetWorkflowID("p"):
                return await parent(ASKED)

        assert asyncio.run(ask()) == text(f"{ASKED[:10]}/child") + ASKED
        runs = database.runs("p", "p-1")
        assert runs["workflow_output.output"] == runs["operation_outputs.output"] == {"p-1"}
    assert (
        len([path for path in store.rglob("*") if path.is_file()]) == 3
    )  # the input of both, the step, the result


def test_an_error_comes_back_as_it_was_raised(sqlite: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with launched(sqlite, serializer_on(store)), SetWorkflowID("w"), pytest.raises(OopsError) as raised:
        failing("failure")
    with launched(sqlite, serializer_on(store)) as database, pytest.raises(OopsError) as again:
        DBOS.retrieve_workflow("w").get_result()
    assert again.value.args == raised.value.args == (text("failure"),)
    assert database.runs("w")["workflow_output.error"] == {"w"}


def test_a_client_outside_of_any_workflow(url: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with launched(url, serializer_on(store)) as database:
        client = DBOSClient(system_database_url=url, serializer=serializer_on(store))
        try:
            handle: WorkflowHandle[object] = client.enqueue(
                {"workflow_name": everything.__qualname__, "queue_name": QUEUE, "workflow_id": "w"}, ASKED
            )
            client.send("w", text("message"), "topic")
            assert handle.get_result(polling_interval_sec=0.05) == TOLD
            assert client.get_event("w", "event", 10) == text("event")
            [status] = client.list_workflows(workflow_ids=["w"])
            assert status.input == {"args": (ASKED,), "kwargs": {}}
        finally:
            client.destroy()
        assert database.runs("w")["notifications.message"] == {"?"}


def test_the_console_without_the_serializer_shows_a_placeholder(sqlite: str, tmp_path: Path) -> None:
    with launched(sqlite, serializer_on(tmp_path / "store")), SetWorkflowID("w"):
        agent(ASKED, 1)
    client = DBOSClient(system_database_url=sqlite)
    try:
        [status] = client.list_workflows(workflow_ids=["w"])
    finally:
        client.destroy()
    assert str(status.input).startswith(MESSAGE)
    assert str(status.output).startswith(MESSAGE)


def test_a_portable_workflow_goes_around_the_serializer_but_for_its_steps(
    sqlite: str, tmp_path: Path
) -> None:
    with launched(sqlite, serializer_on(tmp_path / "store")) as database:
        with SetWorkflowID("w"):
            assert portable(ASKED) == text("portable") + ASKED
        texts = database.texts()
    assert ASKED in texts["workflow_input.inputs"][0]
    assert ASKED in texts["workflow_output.output"][0]
    assert texts["operation_outputs.output"][0].startswith(MESSAGE)


def test_rows_of_before_and_a_chain_that_only_decodes(sqlite: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with launched(sqlite, None), SetWorkflowID("before"):
        result = agent(ASKED, 1)
    with launched(sqlite, serializer_on(store)):
        assert DBOS.retrieve_workflow("before").get_result() == result
        with SetWorkflowID("sealed"):
            agent(ASKED, 1)
    with launched(sqlite, serializer_on(store, decode_only=True)) as database:
        assert DBOS.retrieve_workflow("sealed").get_result() == result
        with SetWorkflowID("plain"):
            assert agent(ASKED, 1) == result
        assert DBOS.retrieve_workflow("plain").get_result() == result
        assert not database.texts()["workflow_output.output"][-1].startswith(MESSAGE)
