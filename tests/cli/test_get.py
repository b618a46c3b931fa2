"""``coatcheck get``: payloads come back, from the store and out of histories of the real server."""

import asyncio
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from typer.testing import CliRunner

from coatcheck import Chain, Reference, Scope
from coatcheck.cli.app import app
from coatcheck.integrations.inngest import claim_check
from coatcheck.integrations.inngest.failures import seal_error
from coatcheck.integrations.temporal.codec import ClaimCheckCodec, Mode
from coatcheck.storage.cache import PROCESS_CACHE
from tests.chains import KEY, OTHER_KEY
from tests.cli.temporal_runs import completed, run_echo
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.workflows import text

RAW = bytes(range(256)) * 20
WORDS = text(30_000, "words ")


class Done(NamedTuple):
    code: int
    out: bytes
    err: str


def run(*arguments: str | Path) -> Done:
    done = CliRunner().invoke(app, ["get", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(done.exit_code, done.stdout_bytes, done.stderr)


def refusal(*arguments: str | Path, code: int = 1) -> str:
    done = run(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (code, b"", 1)
    assert done.err.startswith("coatcheck get: ")
    return done.err


def kept(data: bytes, scope: Scope) -> Reference:
    async def put() -> Reference:
        async with Chain.from_settings() as chain:
            return await chain.put(data, scope)

    return asyncio.run(put())


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/payloads")
    monkeypatch.delenv("TEMPORAL_NAMESPACE", raising=False)
    yield
    PROCESS_CACHE.clear()


@pytest.fixture
def at(temporal_server: TemporalServer) -> tuple[str, ...]:
    return ("--address", temporal_server.address, "--namespace", temporal_server.namespace)


def test_a_reference_gives_the_payload_byte_for_byte(tmp_path: Path) -> None:
    reference = kept(RAW, Scope("default", "run-1")).to_text()
    assert run(reference) == (0, RAW, "")
    assert run(reference, "--output", tmp_path / "raw") == (0, b"", "")
    assert (tmp_path / "raw").read_bytes() == RAW
    assert stat.S_IMODE((tmp_path / "raw").stat().st_mode) == 0o600
    assert "--force" in refusal(reference, "--output", tmp_path / "raw")
    assert run(reference, "--output", tmp_path / "raw", "--force").code == 0


def test_what_inngest_shows_could_not_be_opened() -> None:
    async def shown() -> list[tuple[str, bytes]]:
        async with Chain.from_settings() as chain:
            check = claim_check(chain)
            small, large = await check.wrap({"order": 7}), await check.wrap(WORDS)
            message = await seal_error(check.payloads, ValueError("no such order"))
            sealed = (await chain.encode(b"short", Scope("default", "run", engine="inngest"))).hex()
        as_json = json.dumps(WORDS, ensure_ascii=False).encode()
        return [
            (json.dumps(small), b'{"order":7}'),
            (small["__coatcheck__"], b'{"order":7}'),
            (json.dumps({"customer": 1, **large}), as_json),
            (str(message), b'"no such order"'),
            (sealed, b"short"),
        ]

    for said, payload in asyncio.run(shown()):
        done = run(said)
        assert (done.code, done.out) == (0, payload), done.err
        facts = json.loads(CliRunner().invoke(app, ["inspect", "--json", said]).stdout)
        assert facts["format version"] == 1
    assert "cut off" in refusal("coatcheck:wKfE7AE!")


def test_a_reference_is_opened_for_its_tenant_only(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = kept(RAW, Scope("acme", "run-1")).to_text()
    assert run(reference, "--tenant", "acme").out == RAW
    assert "not authentic" in refusal(reference)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "acme")
    assert run(reference).out == RAW


def test_references_that_do_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = kept(RAW, Scope("default", "run-1"))
    assert "malformed reference" in refusal(reference.to_text()[:-4])
    forged = reference.model_copy(update={"mac": bytes(16)})
    assert "not authentic" in refusal(forged.to_text())
    for path in (tmp_path / "payloads").rglob("*"):
        if path.is_file():
            path.unlink()
    PROCESS_CACHE.clear()
    assert reference.object_id.hex() in refusal(reference.to_text())
    monkeypatch.setenv("COATCHECK_KEYS", OTHER_KEY.to_text())
    assert KEY.id.hex() in refusal(reference.to_text())
    monkeypatch.delenv("COATCHECK_KEYS")
    assert "COATCHECK_KEYS" in refusal(reference.to_text())
    assert run(reference.to_text(), "--event", "1").code == 2


@pytest.mark.parametrize("arguments", [("x", "--output", "y"), ("x", "--field", "y"), ("x", "--event", "0")])
def test_what_is_no_use_of_it(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).code == 2


def in_terminal(*arguments: str) -> tuple[int, bytes, str]:
    """The command with a terminal as its standard output: status, what the terminal got, and standard error."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.run(
            [sys.executable, "-c", "from coatcheck.cli import main; main()", "get", *arguments],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        os.write(theirs, b"END")
        got = b""
        while not got.endswith(b"END"):
            got += os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
    return process.returncode, got.removesuffix(b"END"), process.stderr


@pytest.mark.parametrize("data", [RAW, b"title \x1b]0;pwned\x07", "turned \u202e round".encode()])
def test_what_is_more_than_text_does_not_reach_a_terminal(data: bytes) -> None:
    code, got, err = in_terminal(kept(data, Scope("default", "r")).to_text())
    assert (code, got) == (1, b"")
    assert f"the payload is binary, {len(data):,} bytes" in err
    assert "--output" in err


def test_text_reaches_a_terminal() -> None:
    reference = kept("naïve café\n".encode(), Scope("default", "r")).to_text()
    assert in_terminal(reference) == (0, "naïve café\r\n".encode(), "")


@pytest.mark.parametrize("mode", ["codec", "native"])
def test_payloads_of_a_workflow(
    temporal_server: TemporalServer, at: tuple[str, ...], mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = completed(run_echo(temporal_server, WORDS, Chain.from_settings(), mode))
    monkeypatch.delenv("COATCHECK_KEYS")
    listed = run(workflow_id, *at)
    assert (listed.code, listed.err) == (0, "")
    assert b"words" not in listed.out, "the list shows no payload"
    rows = [line.split() for line in listed.out.decode().splitlines()[1:]]
    assert [row[-1] for row in rows] == ["input", "input", "result", "result"]
    assert all(int(row[1].replace(",", "")) < 500 for row in rows)
    assert all(30_000 < int(row[2].replace(",", "")) < 30_100 for row in rows)
    found = json.loads(run(workflow_id, *at, "--json").out)
    assert [place["where"] for place in found] == ["input", "input", "result", "result"]
    assert found[1]["step"] == "echo"
    last = str(found[-1]["number"])
    assert "COATCHECK_KEYS" in refusal(workflow_id, *at, "--event", last)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    PROCESS_CACHE.clear()
    assert run(workflow_id, *at, "--event", last) == (0, json.dumps(WORDS).encode(), "")
    assert run(workflow_id, *at, "--event", "1", "--field", "input").out == json.dumps(WORDS).encode()


def test_plain_payloads_need_no_key(
    temporal_server: TemporalServer, at: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = completed(run_echo(temporal_server, "hello"))
    monkeypatch.delenv("COATCHECK_KEYS")
    assert run(workflow_id, *at, "--event", "1").out == b'"hello"'


def test_payloads_that_are_not_there(temporal_server: TemporalServer, at: tuple[str, ...]) -> None:
    workflow_id = completed(run_echo(temporal_server, "hello"))
    assert "the history has no event 999" in refusal(workflow_id, *at, "--event", "999")
    assert "event 2 has no payload" in refusal(workflow_id, *at, "--event", "2")
    assert "event 1 has input. Choose one" in refusal(workflow_id, *at, "--event", "1", "--field", "result")
    assert "not found" in refusal("no-such-workflow", *at)
    assert "does not answer" in refusal("x", "--address", "127.0.0.1:1", code=75)


def test_another_key_opens_nothing(
    temporal_server: TemporalServer, at: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = completed(run_echo(temporal_server, WORDS, Chain.from_settings()))
    monkeypatch.setenv("COATCHECK_KEYS", OTHER_KEY.to_text())
    PROCESS_CACHE.clear()
    assert KEY.id.hex() in refusal(workflow_id, *at, "--event", "1")


def test_a_history_with_payloads_of_another_namespace_could_not_be_shown(
    temporal_server: TemporalServer, at: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = f"nexus-{uuid4()}"

    async def begin() -> None:
        """As a handler of a Nexus operation begins one, with what the caller in another namespace sealed."""
        async with Chain.from_settings() as chain:
            (sealed,) = await ClaimCheckCodec(chain, Scope("billing")).encode(
                DataConverter.default.payload_converter.to_payloads(["the invoice"])
            )
        plain = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
        await plain.start_workflow("anything", RawValue(sealed), id=workflow_id, task_queue="nobody")

    asyncio.run(begin())
    assert "another tenant" in refusal(workflow_id, "--event", "1", *at)
    monkeypatch.setenv("COATCHECK_NEXUS_NAMESPACES", "shipping, billing")
    assert run(workflow_id, "--event", "1", *at).out == b'"the invoice"'
    monkeypatch.setenv("COATCHECK_NEXUS_NAMESPACES", "shipping")
    assert "another tenant" in refusal(workflow_id, "--event", "1", *at)
