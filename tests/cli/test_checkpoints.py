"""``coatcheck checkpoints``: what was saved is shown and comes back; what cannot be done is said in one line."""

import asyncio
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
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
    assert heading[:6] == ["branch", "step", "saved", "at", "(UTC)", "bytes"]
    assert [(row[0], row[1], row[4], row[5]) for row in rows] == [
        ("0", "30", "15", "bytes"),
        ("0", "2", str(len(json.dumps(SECOND, separators=(",", ":"), ensure_ascii=False).encode())), "json"),
        ("0", "1", str(len(json.dumps(FIRST, separators=(",", ":")))), "json"),
    ]


def test_list_as_json() -> None:
    found = json.loads(run("list", "--run", "order-7", "--tenant", "acme", "--json").out)
    (one,) = found
    assert (one["branch"], one["step"], one["kind"], one["size"]) == (0, 5, "json", 8)
    assert datetime.fromisoformat(one["saved_at"]).tzinfo
    state = on_chain(lambda chain: Checkpoints(chain, run="order-7", tenant="acme").restore(one["reference"]))
    assert state == "theirs"
    assert len(json.loads(run("list", "--run", "order-7", "--json", "--all").out)) == 3


def test_the_newest_are_listed_and_the_rest_is_said_to_be_there() -> None:
    done = run("list", "--run", "order-7", "--last", "2")
    assert [line.split()[1] for line in done.out.splitlines()[1:]] == ["30", "2"]
    assert (done.code, done.err) == (0, "older ones are not shown; use --last 20 or --all\n")
    assert run("list", "--run", "order-7", "--last", "3").err == ""
    assert run("list", "--run", "order-7", "--last", "2", "--all").out.count("\n") == 4


def test_branches_are_listed_shown_compared_and_restored() -> None:
    async def rewound(chain: Chain) -> None:
        saved = Checkpoints(chain, run="order-7")
        await saved.restore(step=1)
        await saved.save({"goal": "sail"}, 2)

    on_chain(rewound)
    rows = [line.split() for line in run("list", "--run", "order-7").out.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("1", "2"), ("0", "30"), ("0", "2"), ("0", "1")]
    assert rows[0][-4:] == ["step", "1", "of", "0"]
    assert json.loads(run("restore", "--run", "order-7").raw) == {"goal": "sail"}
    assert json.loads(run("restore", "--run", "order-7", "--step", "2", "--branch", "0").raw) == SECOND
    assert "step 30 has no checkpoint" in refusal("show", "--run", "order-7", "--step", "30")
    assert "forks      step 1 of 0" in run("show", "--run", "order-7").out
    done = run("diff", "0:2", "2", "--run", "order-7")
    assert done.out.splitlines()[:2] == ["--- step 2 (branch 0)", "+++ step 2 (branch 1)"]
    assert "not a step" in refusal("diff", "x", "2", "--run", "order-7")


def test_a_record_that_cannot_be_read_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    newest, *_ = records(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-1])
    done = run("list", "--run", "order-7")
    assert done.code == 0
    rows = done.out.splitlines()[1:]
    assert rows[0].split()[:5] == ["0", "30", "cannot", "be", "read:"]
    assert newest.name in rows[0]
    assert len(rows) == 3
    first, *others = json.loads(run("list", "--run", "order-7", "--json").out)
    assert newest.name in first["error"]
    assert [other["step"] for other in others] == [2, 1]
    assert json.loads(run("restore", "--run", "order-7").raw) == SECOND


def records(folder: Path) -> list[Path]:
    """Those of the run that has three, the newest first."""
    found: dict[Path, list[Path]] = {}
    for path in sorted((folder / "payloads").rglob("step-*-*")):
        found.setdefault(path.parent, []).append(path)
    return max(found.values(), key=len)


def test_a_run_that_is_not_there_was_an_empty_list() -> None:
    for arguments in (("list",), ("list", "--json"), ("list", "--all"), ("delete", "--yes")):
        said = refusal(*arguments, "--run", "nope")
        assert "run 'nope' has no checkpoint" in said
        assert "coatcheck checkpoints runs" in said
    for command in ("show", "restore"):
        assert "the run has no checkpoint" in refusal(command, "--run", "nothing")
        assert "step 3 has no checkpoint" in refusal(command, "--run", "order-7", "--step", "3")


def test_runs_are_shown_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    on_chain(lambda chain: Checkpoints(chain, run="another\x1b[2J").save("x", 4))
    done = run("runs")
    assert (done.code, done.err) == (0, "")
    heading, *rows = (line.split() for line in done.out.splitlines())
    assert heading == ["checkpoints", "bytes", "last", "saved", "(UTC)", "step", "run"]
    assert [(row[0], row[4], row[5]) for row in rows] == [("1", "4", "another�[2J"), ("3", "30", "order-7")]
    (theirs,) = json.loads(run("runs", "--tenant", "acme", "--json").out)
    assert (theirs["run"], theirs["checkpoints"], theirs["objects"], theirs["latest"]["step"]) == (
        "order-7",
        1,
        2,
        5,
    )
    assert "tenant 'nobody' has no run with checkpoints" in refusal("runs", "--tenant", "nobody")
    monkeypatch.setenv("COATCHECK_KEYS", f"{OTHER_KEY.to_text()},{KEY.to_text()}")
    on_chain(lambda chain: Checkpoints(chain, run="order-7").save("rotated", 31))
    rows = [line.split() for line in run("runs").out.splitlines()[1:]]
    assert [(row[0], row[4], row[5]) for row in rows] == [("4", "31", "order-7"), ("1", "4", "another�[2J")]


def test_fork_and_delete() -> None:
    done = run("fork", "--run", "order-7", "--step", "2", "--to", "order-8")
    assert (done.code, done.out) == (0, "run 'order-8' starts at step 2, 45 bytes\n")
    assert json.loads(run("restore", "--run", "order-8").raw) == SECOND
    assert run("fork", "--run", "order-7", "--step", "2", "--to", "order-8").code == 0
    assert "already has checkpoints" in refusal("fork", "--run", "order-7", "--to", "order-8")
    assert "--yes" in refusal("delete", "--run", "order-7")
    assert run("delete", "--run", "order-7", "--before", "2", "--yes").out == "1 checkpoints were deleted\n"
    assert json.loads(run("restore", "--run", "order-7", "--step", "2").raw) == SECOND
    assert run("delete", "--run", "order-7", "--yes").out == "2 checkpoints were deleted\n"
    assert "no checkpoint" in refusal("restore", "--run", "order-7")
    assert json.loads(run("restore", "--run", "order-8").raw) == SECOND


def test_show() -> None:
    latest = run("show", "--run", "order-7")
    assert (latest.code, latest.err) == (0, "")
    facts = {line.split()[0]: line.split(maxsplit=1)[1] for line in latest.out.splitlines()}
    assert (facts["step"], facts["kind"], facts["size"], facts["store"]) == ("30", "bytes", "15", "default")
    assert (facts["branch"], facts["forks"], facts["run"]) == ("0", "none", "order-7")
    assert (facts["key"], facts["bases"]) == (KEY.id.hex(), "none")
    shown = json.loads(run("show", "--run", "order-7", "--step", "30", "--json").out)
    assert shown == json.loads(run("list", "--run", "order-7", "--json").out)[0]
    assert facts["reference"] == shown["reference"]


def on_terminal(*arguments: str) -> tuple[int, bytes]:
    """The exit code and what a terminal got."""
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("coatcheck")), "checkpoints", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        # Linux says so when nobody has the other end open any more.
        with suppress(OSError):
            while data := os.read(ours, 65536):
                written += data
        os.close(ours)
    return process.returncode, written


def test_restore_wrote_control_characters_to_a_terminal() -> None:
    escape = "\x1b]52;c;aGk=\x07\x9b2J\u202e"
    on_chain(lambda chain: Checkpoints(chain, run="r").save({"said": escape + "é"}, 1))
    code, written = on_terminal("restore", "--run", "r")
    assert code == 0
    assert not set(written) & (set(range(32)) - {10, 13} | {127} | set(range(128, 256)))
    assert json.loads(written) == {"said": escape + "é"}
    code, written = on_terminal("restore", "--run", "order-7")
    assert code == 1
    assert RAW not in written
    assert b"--output" in written
    on_chain(lambda chain: Checkpoints(chain, run="r").save({"said": "calm"}, 2))
    assert not set(run("diff", "1", "2", "--run", "r").out) & {"\x1b", "\x9b", "\u202e"}


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
    assert done.out.splitlines()[:2] == ["--- step 1 (branch 0)", "+++ step 2 (branch 0)"]
    changed = [line for line in done.out.splitlines()[2:] if line[0] in "+-"]
    assert changed == ['-  "hello"', '+  "hello",', '+  "wörld"']
    assert run("diff", "2", "2", "--run", "order-7").out == ""


def test_diff_of_bytes() -> None:
    done = run("diff", "1", "30", "--run", "order-7")
    assert (done.code, done.out.splitlines()[1:]) == (0, ["step 30 (branch 0): 15 bytes", "different"])
    assert run("diff", "30", "30", "--run", "order-7").out.endswith("equal\n")
    assert "step 4 has no checkpoint" in refusal("diff", "1", "4", "--run", "order-7")


COMMANDS = [("list",), ("show",), ("restore",), ("diff", "1", "2"), ("runs",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    arguments = command if command == ("runs",) else (*command, "--run", "order-7")
    if command != ("runs",):
        assert "a scope has an empty tenant" in refusal(*command, "--run", "")
    for record in records(tmp_path):
        record.write_bytes(record.read_bytes()[:-1])
    if command[0] in {"show", "restore"}:
        assert "none of the newest 3 records can be read" in refusal(*arguments)
        assert "step-99999999" in refusal(*arguments, "--step", "1")
    elif command[0] == "diff":
        assert "step-99999999" in refusal(*arguments)
    elif command[0] == "runs":
        assert "not readable: 04" in run(*arguments).out
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
    for command in (("list", "--json"), ("list",), ("show",), ("restore",)):
        assert "key it was saved with" in refusal(*command, "--run", "order-7")
    assert "key they were saved with" in refusal("runs")
