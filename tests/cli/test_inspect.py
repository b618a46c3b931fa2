"""``coatcheck inspect``: an envelope or a reference explained, from wherever it comes."""

import asyncio
import base64
import json
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from coatcheck import Reference
from coatcheck.cli.app import app
from tests.chains import KEY, SCOPE, encrypted_chain

LARGE = b"What nobody may see. " * 500


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, str]:
        """Each line's fact, by its name."""
        return {line[:15].rstrip(): line[16:] for line in self.out.splitlines()}


def run(*arguments: str | Path, given: bytes | None = None) -> Done:
    done = CliRunner().invoke(app, ["inspect", *map(str, arguments)], input=given)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def reference() -> Reference:
    return asyncio.run(encrypted_chain().put(LARGE, SCOPE))


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COATCHECK_KEYS", raising=False)


def test_a_reference_as_text(reference: Reference) -> None:
    done = run(reference.to_text())
    assert (done.code, done.err) == (0, "")
    assert done.facts == {
        "kind": "reference",
        "format version": "1",
        "suite": "1: AES-256-GCM, HKDF-SHA512, committed",
        "key": KEY.id.hex(),
        "run tag": reference.run_tag.hex(),
        "payload bytes": "10,500",
        "bytes": "86",
        "store": "default",
        "object": reference.object_id.hex(),
        "bases": "none",
        "MAC": reference.mac.hex(),
        "verified": "no: checking the MAC needs the key",
        "text": reference.to_text(),
    }
    assert "nobody" not in done.out


def test_a_forged_reference_is_explained_as_well_and_said_not_to_be_verified(reference: Reference) -> None:
    forged = reference.model_copy(update={"mac": bytes(16)})
    assert run(forged.to_text()).facts["verified"] == "no: checking the MAC needs the key"


def test_files_standard_input_and_json_say_the_same(tmp_path: Path, reference: Reference) -> None:
    (tmp_path / "object").write_bytes(reference.to_bytes())
    facts = json.loads(run(reference.to_text(), "--json").out)
    assert json.loads(run("object", "--json").out) == facts
    assert json.loads(run("-", "--json", given=reference.to_bytes()).out) == facts
    assert json.loads(run("-", "--json", given=reference.to_bytes().hex().encode()).out) == facts
    payload = {
        "metadata": {"encoding": base64.b64encode(b"binary/coatcheck").decode()},
        "data": base64.b64encode(reference.to_bytes()).decode(),
    }
    assert json.loads(run(json.dumps(payload), "--json").out) == {"found in": "a Temporal payload", **facts}


def test_every_base_has_a_line(reference: Reference) -> None:
    bases = (bytes([1]) * 32, bytes([2]) * 32)
    lines = run(reference.model_copy(update={"bases": bases}).to_text()).out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("bases"))
    assert lines[at : at + 2] == [f"bases           {'01' * 32}", f"                {'02' * 32}"]


def test_what_others_wrote_cannot_drive_the_terminal() -> None:
    claim = {"driverName": "\x1b[2J", "claimData": {"\x1b]0;title\x07": "\u202ekey"}}
    kind = base64.b64encode(b"temporal.api.sdk.v1.ExternalStorageReference").decode()
    data = base64.b64encode(json.dumps(claim).encode()).decode()
    done = run(json.dumps({"metadata": {"messageType": kind}, "data": data}))
    assert done.code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out)


@pytest.mark.parametrize("given", ["hunter2", "wKfE7", "{}", "x" * 100_000, "", "é", "a\x01b"])
def test_what_is_none_of_these_is_said_in_one_line(given: str) -> None:
    done = run(given)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith("coatcheck inspect: ")
    assert "hunter2" not in done.err


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    done = run("large")
    assert (done.code, done.out) == (1, "")
    assert "the input is larger than 67,108,864 bytes" in done.err
