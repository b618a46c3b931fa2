"""``coatcheck checkpoints``: what was saved is shown and comes back; what cannot be done is said in one line."""

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from typer.testing import CliRunner

from coatcheck import Chain, Checkpoints, FileStore
from coatcheck.cli.app import app
from coatcheck.cli.output import write_output
from coatcheck.storage.cache import PROCESS_CACHE
from tests.chains import KEY, OTHER_KEY

_T = TypeVar("_T")

FIRST = {"goal": "ship", "messages": ["hello"]}
SECOND = {"goal": "ship", "messages": ["hello", "wörld"]}
RAW = b"\x00\xff\n" * 5


class Done(NamedTuple):
    code: int
    out: str
    err: str
    raw: bytes


def run(*arguments: str) -> Done:
    done = CliRunner().invoke(app, ["checkpoints", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(
        done.exit_code, done.stdout if done.stdout_bytes != RAW else "", done.stderr, done.stdout_bytes
    )


def refusal(*arguments: str) -> str:
    done = run(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith(f"coatcheck checkpoints {arguments[0]}: ")
    return done.err


def on_chain(work: Callable[[Chain], Awaitable[_T]]) -> _T:
    async def opened() -> _T:
        async with Chain.from_settings() as chain:
            return await work(chain)

    return asyncio.run(opened())


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/payloads")

    async def save(chain: Chain) -> None:
        for step, state in ((1, FIRST), (2, SECOND), (30, RAW)):
            await Checkpoints(chain, run="order-7").save(state, step)
        await Checkpoints(chain, run="order-7", tenant="acme").save("theirs", 5)

    on_chain(save)


def test_list() -> None:
    done = run("list", "--run", "order-7")
    assert (done.code, done.err) == (0, "")
    heading, *rows = (line.split() for line in done.out.splitlines())
    assert heading == ["step", "saved", "at", "(UTC)", "bytes", "kind", "deltas"]
    assert [(row[0], row[3], row[4]) for row in rows] == [
        ("1", str(len(json.dumps(FIRST, separators=(",", ":")))), "json"),
        ("2", str(len(json.dumps(SECOND, separators=(",", ":"), ensure_ascii=False).encode())), "json"),
        ("30", "15", "bytes"),
    ]


def test_list_as_json() -> None:
    found = json.loads(run("list", "--run", "order-7", "--tenant", "acme", "--json").out)
    (one,) = found
    assert (one["step"], one["kind"], one["size"]) == (5, "json", 8)
    assert datetime.fromisoformat(one["saved_at"]).tzinfo
    state = on_chain(lambda chain: Checkpoints(chain, run="order-7", tenant="acme").restore(one["reference"]))
    assert state == "theirs"


def test_a_run_without_checkpoints_is_an_empty_list_and_nothing_to_show() -> None:
    assert run("list", "--run", "nothing").out.count("\n") == 1
    assert json.loads(run("list", "--run", "nothing", "--json").out) == []
    for command in ("show", "restore"):
        assert "the run has no checkpoint" in refusal(command, "--run", "nothing")
        assert "step 3 has no checkpoint" in refusal(command, "--run", "order-7", "--step", "3")


def test_show() -> None:
    latest = run("show", "--run", "order-7")
    assert (latest.code, latest.err) == (0, "")
    facts = {line.split()[0]: line.split(maxsplit=1)[1] for line in latest.out.splitlines()}
    assert (facts["step"], facts["kind"], facts["size"], facts["store"]) == ("30", "bytes", "15", "default")
    assert (facts["key"], facts["bases"]) == (KEY.id.hex(), "none")
    shown = json.loads(run("show", "--run", "order-7", "--step", "30", "--json").out)
    assert shown == json.loads(run("list", "--run", "order-7", "--json").out)[-1]
    assert facts["reference"] == shown["reference"]


def test_restore_to_standard_output() -> None:
    assert run("restore", "--run", "order-7").raw == RAW
    assert json.loads(run("restore", "--run", "order-7", "--step", "2").raw) == SECOND


def test_restore_to_a_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    arguments = ("restore", "--run", "order-7", "--output", str(target))
    assert run(*arguments).code == 0
    assert target.read_bytes() == RAW
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.write_bytes(b"mine")
    assert "--force" in refusal(*arguments)
    assert target.read_bytes() == b"mine"
    assert run(*arguments, "--force", "--step", "1").code == 0
    assert json.loads(target.read_bytes()) == FIRST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["payloads", "state"]


def test_files_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = ("restore", "--run", "order-7", "--output")
    assert "does not exist" in refusal(*restore, str(tmp_path / "missing" / "state"))
    assert "is a folder" in refusal(*restore, str(tmp_path), "--force")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "--force" in refusal(*restore, str(tmp_path / "link"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coatcheck.cli.output.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_output(tmp_path / "state", RAW, force=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "payloads"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="--force"):
        write_output(tmp_path / "state", RAW, force=False)
    assert (tmp_path / "state").read_bytes() == b"mine"


def test_diff() -> None:
    done = run("diff", "1", "2", "--run", "order-7")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[:2] == ["--- step 1", "+++ step 2"]
    changed = [line for line in done.out.splitlines()[2:] if line[0] in "+-"]
    assert changed == ['-  "hello"', '+  "hello",', '+  "wörld"']
    assert run("diff", "2", "2", "--run", "order-7").out == ""


def test_diff_of_bytes() -> None:
    done = run("diff", "1", "30", "--run", "order-7")
    assert (done.code, done.out.splitlines()[1:]) == (0, ["step 30: 15 bytes", "different"])
    assert run("diff", "30", "30", "--run", "order-7").out.endswith("equal\n")
    assert "step 4 has no checkpoint" in refusal("diff", "1", "4", "--run", "order-7")


COMMANDS = [("list",), ("show",), ("restore",), ("diff", "1", "2")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    arguments = (*command, "--run", "order-7")
    assert "a scope needs a tenant" in refusal(*command, "--run", "")
    records = [path for path in (tmp_path / "payloads").rglob("step-*") if not path.name.endswith("05")]
    for record in records:
        good = record.read_bytes()
        record.write_bytes(good[:-1])
    assert "step-000000000000000000" in refusal(*arguments)
    monkeypatch.setenv("COATCHECK_OFFLOAD__OVER", "much")
    assert "offload.over" in refusal(*arguments)
    monkeypatch.delenv("COATCHECK_OFFLOAD__OVER")
    monkeypatch.delenv("COATCHECK_KEYS")
    assert "COATCHECK_KEYS" in refusal(*arguments)


def test_a_state_that_is_gone_is_named(tmp_path: Path) -> None:
    on_chain(lambda chain: Checkpoints(chain, run="r").save(b"state", 1))
    shown = json.loads(run("show", "--run", "r", "--json").out)
    object_id = next(
        line for line in run("show", "--run", "r").out.splitlines() if line.startswith("object")
    ).split()[1]
    (path,) = (tmp_path / "payloads").rglob(object_id)
    path.unlink()
    PROCESS_CACHE.clear()
    assert object_id in refusal("restore", "--run", "r")
    assert json.loads(run("show", "--run", "r", "--json").out) == shown
    assert FileStore(tmp_path / "payloads").folder.is_dir()


def test_another_key_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", OTHER_KEY.to_text())
    assert json.loads(run("list", "--run", "order-7", "--json").out) == []
    assert "key it was saved under" in refusal("show", "--run", "order-7")
