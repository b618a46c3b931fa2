"""``coatcheck verify`` and ``coatcheck store usage`` on a folder."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from coatcheck import Chain, Checkpoints, FileStore, Scope
from coatcheck.cli.app import app
from coatcheck.integrations.temporal.scopes import workflow_scope
from coatcheck.storage.cache import PROCESS_CACHE
from tests.audit.test_usage import conversation
from tests.chains import KEY, OTHER_KEY
from tests.retention.sweeping import keys_of

STATES = [b"\x80" + turn for turn in conversation(6)]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """With a run of six checkpoints that nobody holds in memory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/payloads")

    async def save() -> None:
        async with Chain.from_settings() as chain:
            for step, state in enumerate(STATES):
                await Checkpoints(chain, run="agent").save(state, step)

    asyncio.run(save())
    PROCESS_CACHE.clear()
    return FileStore(tmp_path / "payloads")


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def records(*arguments: str) -> dict[tuple[str, str], Any]:
    return {(one["case"], one["name"]): one["value"] for one in json.loads(run(*arguments, "--json").stdout)}


def test_all_is_well(store: FileStore) -> None:
    done = run("verify")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("Verified: 6 objects and 6 records, ")
    found = records("verify")
    assert (found["verify", "objects"], found["verify", "records"], found["verify", "problems"]) == (6, 6, 0)
    assert found["verify", "payload_bytes"] == sum(map(len, STATES))


def test_what_is_damaged_is_named(store: FileStore) -> None:
    key = next(key for key in asyncio.run(keys_of(store)) if len(key.rpartition("/")[2]) == 64)
    asyncio.run(store.replace(key, b"damaged"))
    done = run("verify")
    assert done.exit_code == 1
    assert f"problem  {key}  " in done.stdout
    assert run("verify", "--json").exit_code == 1
    assert (key, "problem") in records("verify")


def test_a_run_that_is_not_there_has_nothing_to_verify() -> None:
    done = run("verify", "--run", "another")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing was verified" in done.stderr
    assert "'another'" in done.stderr


@pytest.mark.parametrize("arguments", [["--tenant", "defualt"], ["--tenant", "a", "--tenant", "b"]])
def test_a_misspelt_tenant_was_said_to_be_well(arguments: list[str]) -> None:
    done = run("verify", *arguments)
    assert done.exit_code == 1
    assert "12 objects belong to other tenants or keys" in done.stderr


def test_another_key_was_said_to_be_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", OTHER_KEY.to_text())
    done = run("verify")
    assert done.exit_code == 1
    assert "12 objects belong to" in done.stderr


def test_an_empty_store_was_said_to_be_well(store: FileStore) -> None:
    for key in asyncio.run(keys_of(store)):
        asyncio.run(store.delete(key))
    done = run("verify")
    assert done.exit_code == 1
    assert "nothing was verified" in done.stderr


@pytest.mark.parametrize("name", ["agent", "nightly-2026-01-01T00:00:00Z"])
def test_a_run_is_found_whichever_engine_wrote_it(name: str) -> None:
    async def encode() -> None:
        async with Chain.from_settings() as chain:
            scopes = [
                workflow_scope("default", name),
                Scope("default", name),
                Scope("default", name, engine="restate"),
            ]
            for scope in scopes:
                await chain.put(STATES[0], scope)

    asyncio.run(encode())
    assert records("verify", "--run", name)["verify", "objects"] == (9 if name == "agent" else 3)


def test_without_keys_it_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COATCHECK_KEYS")
    done = run("verify")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("coatcheck verify: ")


def test_usage(store: FileStore) -> None:
    done = run("store", "usage")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "default" in done.stdout
    assert "Sample: 5 of 6 objects are deltas." in done.stdout
    assert "times as large" in done.stdout
    found = records("store", "usage")
    assert (found["kind:object", "objects"], found["kind:record", "objects"]) == (6, 6)
    assert found["tenant:default", "objects"] == 12
    assert found["age:1d", "objects"] == 12
    assert found["sample:delta", "payload_bytes"] == sum(map(len, STATES[1:]))
    assert found["sample", "saved_by_deltas"] > 0.5


def test_usage_of_a_tenant_without_a_name(store: FileStore) -> None:
    tags = {
        case for case, _ in records("store", "usage", "--tenant", "another") if case.startswith("tenant:")
    }
    (tag,) = {key.partition("/")[0] for key in asyncio.run(keys_of(store))}
    assert tags == {f"tenant:{tag}"}
