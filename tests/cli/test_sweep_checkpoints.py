"""``coatcheck sweep checkpoints`` on a folder, whose files are made older than they are."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from coatcheck import Chain, Checkpoints
from coatcheck.cli.app import app
from coatcheck.storage.cache import PROCESS_CACHE
from tests.audit.test_usage import conversation
from tests.chains import KEY, history
from tests.cli.sweeping import age

STATES = [b"\x80" + turn for turn in conversation(6)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/payloads")
    return tmp_path / "payloads"


def save(run: str, count: int = 6) -> None:
    async def work() -> None:
        async with Chain.from_settings() as chain:
            for step, state in enumerate(STATES[:count]):
                await Checkpoints(chain, run=run).save(state, step)

    asyncio.run(work())
    PROCESS_CACHE.clear()


def steps(run: str) -> list[int]:
    async def work() -> list[int]:
        async with Chain.from_settings() as chain:
            saved = Checkpoints(chain, run=run)
            found = await history(saved)
            for one in found:
                assert await saved.restore(one.reference) == STATES[one.step]
            return [one.step for one in found]

    PROCESS_CACHE.clear()
    return asyncio.run(work())


def sweep(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["sweep", "checkpoints", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def records(*arguments: str) -> dict[tuple[str, str], Any]:
    done = sweep(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return {(one["case"], one["name"]): one["value"] for one in json.loads(done.stdout)}


def test_old_runs_go_and_others_stay(folder: Path) -> None:
    save("old")
    age(folder, 31)
    save("young")
    arguments = ("--keep-days", "30", "--max-share", "1")
    assert "would be marked" in sweep(*arguments).stdout
    assert records(*arguments, "--delete")["marked", "scopes"] == 1
    age(folder, 8)
    assert records(*arguments, "--delete")["total", "objects deleted"] == 12
    assert (steps("old"), steps("young")) == ([], list(range(6)))


def test_the_latest_are_kept(folder: Path) -> None:
    save("agent")
    age(folder, 8)
    arguments = ("--keep-last", "2", "--max-share", "1")
    assert records(*arguments, "--delete")["marked", "scopes"] == 1
    age(folder, 8)
    assert "would be trimmed" in sweep(*arguments).stdout
    assert records(*arguments, "--delete")["trimmed", "scopes"] == 1
    assert steps("agent") == [4, 5]


def test_more_than_the_share_stops_it(folder: Path) -> None:
    save("agent")
    age(folder, 8)
    done = sweep("--keep-days", "1", "--delete")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("coatcheck sweep checkpoints: 100% of 12 objects")
    assert steps("agent") == list(range(6))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "these rules keep everything"),
        (("--keep-days", "3", "--grace", "1h"), "is too short to be safe"),
        (("--keep-last", "2", "--grace", "soon"), "no time such as|not a time such as"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], said: str, folder: Path) -> None:
    done = sweep(*arguments)
    assert done.exit_code != 0
    assert any(part in done.stderr for part in said.split("|"))
