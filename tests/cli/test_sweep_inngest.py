"""``coatcheck sweep inngest``: by a list of runs, by age, or by both."""

import os
import time
from pathlib import Path

import pytest

from tests.cli.sweeping import age, keep, objects, refusal, run
from tests.engines.inngest_executor import new_id

DAY = 86_400
FREE = ("--max-share", "1", "--delete", "--json")


def _listed(folder: Path, *runs: str) -> Path:
    path = folder / "live"
    path.write_text("".join(f"{run}\n" for run in runs))
    return path


def test_runs_that_are_not_listed_go(payloads: Path, tmp_path: Path) -> None:
    live, dead = new_id(), new_id()
    for one in (live, None):
        keep(one, engine="inngest")
    kept = set(objects(payloads))
    keep(dead, engine="inngest")
    age(payloads)
    arguments = ("--live", _listed(tmp_path, live), *FREE)
    assert run("inngest", *arguments).scopes == {"live": 1, "marked": 1}
    age(payloads)
    done = run("inngest", *arguments)
    assert done.scopes == {"live": 1, "deleted": 1}
    assert set(objects(payloads)) == kept


def test_the_list_can_come_from_a_pipe(payloads: Path) -> None:
    live = new_id()
    for one in (live, new_id()):
        keep(one, engine="inngest")
    age(payloads)
    assert run("inngest", "--live", "-", *FREE, given=f"{live}\n").scopes == {"live": 1, "marked": 1}
    assert "the list of live runs is empty" in refusal("inngest", "--live", "-", *FREE, given="")


def test_age_decides_alone_or_with_the_list(payloads: Path, tmp_path: Path) -> None:
    old, older = new_id(), new_id()
    keep(older, engine="inngest")
    age(payloads, days=20)
    keep(old, engine="inngest")
    age(payloads, days=20)
    assert run("inngest", "--older-than", "30d", *FREE[:2], "--json").scopes == {"young": 1, "marked": 1}
    assert run("inngest", "--older-than", "10d", *FREE[:2], "--json").scopes == {"marked": 2}
    both = ("--older-than", "30d", "--live", _listed(tmp_path, older), *FREE)
    assert run("inngest", *both).scopes == {"live": 1, "young": 1}
    # What is younger than the grace is never marked.
    keep(new_id(), engine="inngest")
    assert run("inngest", "--older-than", "1h", *FREE[:2], "--json").scopes == {"young": 1, "marked": 2}


def test_other_tenants_are_left_alone(payloads: Path) -> None:
    keep(new_id(), "ours", engine="inngest")
    keep(new_id(), "theirs", engine="inngest")
    age(payloads)
    done = run("inngest", "--tenant", "ours", "--older-than", "1d", *FREE)
    assert done.scopes == {"marked": 1}
    done = run("inngest", "--tenant", "ours", "--tenant", "theirs", "--older-than", "1d", *FREE)
    assert done.scopes == {"waiting": 1, "marked": 1}


def test_a_list_that_is_too_old(payloads: Path, tmp_path: Path) -> None:
    keep(new_id(), engine="inngest")
    age(payloads)
    path = _listed(tmp_path, new_id())
    then = time.time() - 3.6 * DAY
    os.utime(path, (then, then))
    assert "older than half the grace" in refusal("inngest", "--live", path, *FREE)
    assert run("inngest", "--live", path, "--grace", "8d", *FREE[:2], "--json").code == 0


def test_a_list_that_is_not_there(payloads: Path, tmp_path: Path) -> None:
    assert "No such file" in refusal("inngest", "--live", tmp_path / "nothing")


def test_one_of_the_two_is_needed(payloads: Path) -> None:
    done = run("inngest")
    assert done.code == 2
    assert "--older-than" in done.err


def test_the_help_says_what_is_never_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert (
        "Results of functions, data of events and errors belong to the tenant" in run("inngest", "--help").out
    )


def test_what_rules_write_to_another_store_was_never_swept(
    payloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    monkeypatch.setenv("COATCHECK_OFFLOAD__READ_ALSO__IMAGES", images.as_uri())
    keep(new_id(), engine="inngest")
    monkeypatch.setenv("COATCHECK_RULES", '[{"name": "*", "store": "images"}]')
    keep(new_id(), engine="inngest")
    age(payloads)
    age(images)
    arguments = ("--older-than", "1d", *FREE)
    assert run("inngest", *arguments).scopes == {"marked": 1}
    assert run("inngest", *arguments, "--store", "images").scopes == {"marked": 1}
    age(images)
    assert run("inngest", *arguments, "--store", "images").scopes == {"deleted": 1}
    assert objects(images) == []
    assert objects(payloads)
    assert "[offload] has default, images" in refusal("inngest", *arguments, "--store", "imgaes")
