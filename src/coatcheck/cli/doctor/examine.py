"""Diagnoses of histories, read one after the other from a server or a file."""

import sys
from pathlib import Path

from temporalio.client import Client, WorkflowHistory

from coatcheck.cli.doctor.bar import Bar
from coatcheck.cli.doctor.trial import chain_under_test
from coatcheck.cli.temporal.options import Server
from coatcheck.cli.temporal.server import connect, fetch, refusals_in_words
from coatcheck.doctor.diagnosis import Diagnosis, Prospect, diagnose, prospect
from coatcheck.integrations.temporal.codec import ClaimCheckCodec
from coatcheck.integrations.temporal.history import history_from_json, journal_of, with_codec
from coatcheck.scope import Scope


async def of_file(path: Path, bar: Bar) -> Diagnosis:
    """Diagnose a history in JSON, as the ``temporal`` command writes it.

    Args:
        path: The file; ``-`` is standard input.
        bar: Shows the progress.

    Raises:
        FormatError: It is not a history.
        OSError: The file cannot be read.
        CoatcheckError: As for :func:`_examined`.
    """
    read = sys.stdin.buffer.read if str(path) == "-" else path.read_bytes
    return await _examined(history_from_json(read()), "", bar)


async def of_workflow(workflow_id: str, run_id: str | None, server: Server, bar: Bar) -> Diagnosis:
    """Diagnose one run on a server.

    Args:
        workflow_id: The workflow.
        run_id: The run; None for the latest.
        server: The server to ask.
        bar: Shows the progress.

    Raises:
        CoatcheckError: The server does not answer or refuses, or as for :func:`_examined`.
    """
    return await _of_run(await connect(server), workflow_id, run_id, bar)


async def of_query(query: str, limit: int, server: Server, bar: Bar) -> list[Diagnosis]:
    """Diagnose the latest runs that a query finds; those closest to a limit come first.

    Only one history at a time is in memory.

    Args:
        query: A list filter of Temporal's visibility.
        limit: Most runs to read.
        server: The server to ask.
        bar: Shows the progress.

    Raises:
        CoatcheckError: As for :func:`of_workflow`.
    """
    client = await connect(server)
    with refusals_in_words():
        found = [run async for run in client.list_workflows(query, limit=limit)]
    diagnoses = [await _of_run(client, run.id, run.run_id, bar) for run in found]
    return sorted(diagnoses, key=lambda one: max(limit.share for limit in one.distances), reverse=True)


async def _of_run(client: Client, workflow_id: str, run_id: str | None, bar: Bar) -> Diagnosis:
    with bar.task(f"reading {workflow_id}") as advance:
        history, run = await fetch(client, workflow_id, run_id, advance)
    return await _examined(history, run, bar)


async def _examined(history: WorkflowHistory, run_id: str, bar: Bar) -> Diagnosis:
    """Diagnose one history.

    Raises:
        ConfigError: The settings are wrong.
        LimitExceeded: A payload is larger than the settings allow.
    """
    with_chain = await _with_chain(history, run_id, bar)
    return diagnose(journal_of(history, run_id), with_chain)


async def _with_chain(history: WorkflowHistory, run_id: str, bar: Bar) -> Prospect:
    """Pass the history through the chain of the settings, with a store in memory and a random key."""
    chain, store, settings = chain_under_test()
    codec = ClaimCheckCodec(chain, Scope("doctor", "run"))
    events = []
    with bar.task("trying a chain") as advance:
        for event in history.events:
            events.append(await with_codec(event, codec))
            advance(len(events), len(history.events))
    journal = journal_of(WorkflowHistory(history.workflow_id, events), run_id)
    return prospect(journal, over=settings.offload.over, stored=store.size, objects=store.objects)
