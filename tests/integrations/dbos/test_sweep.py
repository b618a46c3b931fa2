"""Sweeps while DBOS's databases hold values of workflows that are long gone."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOS, SetWorkflowID

from coatcheck import CoatcheckError, ConfigError, FileStore, Scope
from coatcheck.integrations.dbos import DBOSRuns
from coatcheck.retention.rules import Action
from coatcheck.retention.tally import Report
from tests.engines.postgres import PostgresServer
from tests.integrations.dbos.agents import (
    QUEUE,
    TENANT,
    agent,
    launched,
    serializer_on,
    text,
)
from tests.retention.aged_files import age
from tests.retention.sweeping import LONG, sweep_of

ASKED = text("asked")


async def scopes_of(runs: DBOSRuns) -> list[object]:
    return [scope async for scope in runs.scopes()]


@DBOS.workflow()
def asking(asked: str) -> list[str]:
    """Has the result of a child, which may be gone."""
    with SetWorkflowID("child"):
        return DBOS.enqueue_workflow(QUEUE, agent, asked, 1).get_result(polling_interval_sec=0.05)


async def swept(url: str, store: Path) -> Report:
    """Age everything, mark what is dead, and delete it after the grace."""
    age(store, LONG)
    await sweep_of(FileStore(store), DBOSRuns([url], [TENANT]), tenants=(TENANT,)).run()
    age(store, LONG, TENANT)
    return await sweep_of(FileStore(store), DBOSRuns([url], [TENANT]), tenants=(TENANT,)).run()


def test_nothing_is_deleted_that_a_row_refers_to(url: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with launched(url, serializer_on(store)):
        with SetWorkflowID("origin"):
            agent(ASKED, 2)
        with SetWorkflowID("gone"):
            agent(text("nobody asks"), 2)
        with SetWorkflowID("parent"):
            asking(ASKED)
        forked = DBOS.fork_workflow("origin", 2)
        told = forked.get_result(polling_interval_sec=0.05)
        DBOS.delete_workflow("origin")
        DBOS.delete_workflow("child")
        DBOS.delete_workflow("gone")
    # Of the workflow that is gone: its input, its steps and its result.
    assert asyncio.run(swept(url, store)).of(Action.DELETE).objects == 4
    with launched(url, serializer_on(store)):
        assert DBOS.retrieve_workflow(forked.workflow_id).get_result() == told
        assert DBOS.fork_workflow(forked.workflow_id, 2).get_result(polling_interval_sec=0.05) == told
        assert DBOS.retrieve_workflow("parent").get_result() == [ASKED, text(f"{ASKED[:10]}/0")]


async def test_every_reference_of_every_table_is_seen(sqlite: str, tmp_path: Path) -> None:
    """Also in a table that this release of DBOS does not have."""
    reference = await asyncio.to_thread(serializer_on(tmp_path / "store").serialize, ASKED)
    engine = sa.create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE later (number INTEGER, said TEXT)"))
        connection.execute(sa.text("INSERT INTO later VALUES (1, :said)"), {"said": f"[{reference}]"})
    engine.dispose()
    found = await scopes_of(DBOSRuns([sqlite], [TENANT]))
    assert len(found) == 1
    assert not isinstance(found[0], Scope)


def test_workflows_are_named_for_each_tenant(sqlite: str, tmp_path: Path) -> None:
    with launched(sqlite, None), SetWorkflowID("w"):
        agent(ASKED, 0)
    found = asyncio.run(scopes_of(DBOSRuns([sqlite], ["a", "b"])))
    assert found == [Scope("a", "w", engine="dbos"), Scope("b", "w", engine="dbos")]


@pytest.mark.parametrize(
    "url_", ["sqlite:////nowhere/system.db", "nonsense", "postgresql://u:hunter2@127.0.0.1:1/x"]
)
async def test_a_database_that_is_not_there(url_: str, tmp_path: Path) -> None:
    with pytest.raises(CoatcheckError) as raised:
        await DBOSRuns([url_], [TENANT]).origins()
    with pytest.raises(CoatcheckError):
        await scopes_of(DBOSRuns([url_], [TENANT]))
    assert "hunter2" not in str(raised.value)


async def test_a_database_of_something_else_looked_like_one_without_workflows(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    other = tmp_path / "other.db"
    engine = sa.create_engine(f"sqlite:///{other}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE other (number INTEGER)"))
    engine.dispose()
    for url_ in (f"sqlite:///{other}", postgres_server.dsn()):
        with pytest.raises(ConfigError):
            await DBOSRuns([url_], [TENANT]).origins()


def test_the_origin_tells_databases_apart(postgres: str) -> None:
    with launched(postgres, None):
        pass
    [origin] = asyncio.run(DBOSRuns([postgres], [TENANT]).origins()).values()
    assert origin.cluster.isdigit()
    assert origin.namespace == f"{sa.make_url(postgres).database}/dbos"
