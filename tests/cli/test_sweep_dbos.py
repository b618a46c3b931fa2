"""``coatcheck sweep dbos`` on a real database."""

from pathlib import Path

import pytest
from dbos import SetWorkflowID

from coatcheck import Chain
from coatcheck.integrations.dbos import ClaimCheckSerializer
from tests.cli.sweeping import age, keep, objects, refusal, run
from tests.integrations.dbos.agents import agent, launched, text


def test_what_is_dead_is_marked_and_then_deleted(
    payloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/system.db"
    with launched(url, ClaimCheckSerializer(Chain.from_settings())), SetWorkflowID("kept"):
        agent(text("asked"), 1)
    kept = set(objects(payloads))
    keep("gone", engine="dbos")
    monkeypatch.setenv("DBOS_SYSTEM_DATABASE_URL", url)
    options = ["--max-share", "0.9"]
    age(payloads)
    dry = run("dbos", *options)
    assert (dry.code, dry.err) == (0, "")
    assert dry.out.endswith("Dry run. Use --delete to apply.\n")
    assert run("dbos", *options, "--delete", "--json").scopes == {"live": 1, "marked": 1}
    age(payloads, 8, "default")
    deleted = run("dbos", *options, "--database", url, "--delete", "--json")
    assert deleted.scopes == {"live": 1, "deleted": 1}
    assert set(objects(payloads)) == kept


def test_a_database_that_is_not_there(payloads: Path, tmp_path: Path) -> None:
    keep("gone", engine="dbos")
    age(payloads)
    before = objects(payloads)
    assert "there is no database" in refusal(
        "dbos", "--database", f"sqlite:///{tmp_path}/none.db", "--delete"
    )
    assert objects(payloads) == before
    assert run("dbos").code == 2
