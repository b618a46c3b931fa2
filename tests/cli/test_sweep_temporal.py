"""``coatcheck sweep temporal``, on the real server."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from coatcheck import FileStore, Scope
from coatcheck.cli.app import app
from coatcheck.retention.live import Origin
from coatcheck.retention.origins import Origins
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from tests.chains import KEY, OTHER_KEY
from tests.cli.temporal_runs import completed
from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.paths.nexus import new_namespace
from tests.integrations.temporal.swept_world import World, chain_on, new_world, value
from tests.retention.aged_files import age
from tests.retention.sweeping import LONG

_ORPHANS = 150


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def objects(self, what: str) -> int:
        """The figure in the line of the table that ends with ``what``."""
        (line,) = [line for line in self.out.splitlines() if line.endswith(f"  {what}")]
        return int(line.split()[1].replace(",", ""))


@pytest.fixture(scope="module")
def populated(temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    async def populate() -> World:
        return await new_world(await new_namespace(temporal_server), tmp_path_factory.mktemp("swept"), 12)

    return completed(populate())


@pytest.fixture
def at(populated: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Old enough to be marked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/payloads")
    monkeypatch.setenv("TEMPORAL_ADDRESS", populated.server.address)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", populated.server.namespace)
    new = populated.with_store(tmp_path / "payloads")
    age(new.folder, LONG)
    return new


def run(*options: str) -> Done:
    """With a share that lets everything pass, unless another is given, and all callers said to be named."""
    share = () if "--max-share" in options else ("--max-share", "1")
    done = CliRunner().invoke(app, ["sweep", "temporal", "--nexus-callers-listed", *share, *options])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(done.exit_code, done.stdout, done.stderr)


def keys(at: World) -> set[str]:
    return completed(at.keys())


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(at: World) -> None:
    before = keys(at)
    done = run()
    assert (done.code, done.err) == (0, "")
    assert done.objects("would be marked") == len(completed(at.keys_of(at.dead)))
    assert done.objects("live") == len(completed(at.keys_of(at.live)))
    assert "Dry run. Use --delete to apply." in done.out
    assert keys(at) == before


def test_delete_marks_first_and_frees_after_the_grace(at: World) -> None:
    before, lost = keys(at), completed(at.keys_of(at.dead))
    size = sum(FileStore(at.folder)._path(key).stat().st_size for key in lost)
    assert run("--delete").objects("marked") == len(lost)
    assert run("--delete").objects("waiting") == len(lost)
    assert before <= keys(at)
    age(at.folder, LONG, at.server.namespace)
    done = run("--delete")
    assert done.code == 0
    assert f"{len(lost):,} objects of {size:,} bytes were deleted." in done.out
    assert keys(at) == before - lost
    assert completed(at.decode_all()) > 0


def test_figures_for_machines(at: World) -> None:
    lost = completed(at.keys_of(at.dead))
    records = json.loads(run("--json").out)
    assert all(record.keys() == {"case", "name", "value", "unit"} for record in records)
    figures = {(record["case"], record["name"]): record["value"] for record in records}
    assert figures["marked", "objects"] == len(lost)
    assert figures["total", "objects deleted"] == 0
    assert figures["total", "share"] == pytest.approx(
        len(lost) / (len(lost) + len(completed(at.keys_of(at.live)))), abs=1e-4
    )
    assert ("total", "share") not in {
        (record["case"], record["name"]) for record in json.loads(run("--delete", "--json").out)
    }


def test_a_namespace_that_the_server_does_not_have_gave_an_empty_table(at: World) -> None:
    """Also where the store has nothing of it, and where nothing is old."""
    for name in (f"nowhere-{uuid4()}", at.server.namespace + "-typo"):
        done = run("--namespace", name)
        assert (done.code, done.out) == (1, "")
        assert "not found" in done.err


def test_a_wrong_key_gave_an_empty_table(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", OTHER_KEY.to_text())
    for options in ((), ("--delete",)):
        done = run(*options)
        assert (done.code, done.out) == (1, "")
        assert f"has no payloads of temporal for {at.server.namespace}" in done.err


def test_a_dry_run_said_that_delete_does_it_and_then_it_refused(at: World) -> None:
    dry = run("--max-share", "0.05")
    assert (dry.code, "Dry run. --delete would refuse" in dry.out) == (0, True)
    assert "--max-share" in run("--delete", "--max-share", "0.05").err


def test_what_waits_has_a_legend_and_a_date(at: World) -> None:
    run("--delete")
    done = run()
    (waiting,) = [line for line in done.out.splitlines() if line.startswith("waiting: ")]
    due = datetime.now(UTC) + timedelta(days=7)
    assert waiting == f"waiting: marked earlier; the first can be deleted from {due:%Y-%m-%d}."
    assert any(line.startswith("live: ") for line in done.out.splitlines())


def test_what_is_remembered_of_the_cluster_refuses_another_namespace_of_the_same_name(at: World) -> None:
    """As another server has it, which is not known here: what the store remembers is of another cluster."""
    assert run("--delete").code == 0
    completed(move(at))
    for options in ((), ("--delete",)):
        refused = run(*options)
        assert (refused.code, refused.out) == (1, "")
        assert "another" in refused.err or "before" in refused.err
        assert "--moved" in refused.err
    assert run("--delete", "--moved").code == 0
    assert run("--delete").code == 0


async def move(at: World) -> None:
    """Have the store remember that it was swept for another cluster."""
    chain = chain_on(at.folder)
    origins = Origins(StoreClient(chain.store), ScopePrefixes(chain.sealings), "temporal")
    await origins.remember({at.server.namespace: Origin("another cluster", "")}, [at.server.namespace])


def test_what_was_written_for_a_namespace_that_was_deleted_for_good_is_freed(at: World) -> None:
    name = f"deleted-{uuid4()}"
    completed(orphans(at, name, 3))
    age(at.folder, LONG, at.server.namespace)
    before = completed(prefix_of(at, name))
    refused = run("--delete", "--namespace", name)
    assert (refused.code, "not found" in refused.err) == (1, True)
    for _ in range(2):
        assert run("--delete", "--namespace", name, "--no-runs", name).code == 0
        age(at.folder, LONG, at.server.namespace, name)
    assert not [key for key in keys(at) if key.startswith(before)]


def test_too_large_a_share_stops_it_before_anything_is_done(at: World) -> None:
    before = keys(at)
    done = run("--delete", "--max-share", "0.05")
    assert done.code == 1
    assert re.fullmatch(r"coatcheck sweep temporal: \d+% of .* nothing was done\. .*\n", done.err)
    assert keys(at) == before


def test_a_namespace_that_the_server_does_not_have_stops_it(at: World) -> None:
    """The store has objects of it, so that the server must be asked."""
    name = f"nowhere-{uuid4()}"
    completed(orphans(at, name, 1))
    age(at.folder, LONG, at.server.namespace)
    before = keys(at)
    done = run("--delete", "--namespace", name)
    assert (done.code, done.out) == (1, "")
    assert "not found" in done.err
    assert "Nothing was deleted" in done.err
    assert keys(at) == before


def test_archival_that_is_not_set_up_is_an_error(at: World) -> None:
    """The dev server has none. To leave out silently what is archived would be to delete it."""
    before = keys(at)
    done = run("--delete", "--archived")
    assert done.code == 1
    assert "archival" in done.err
    assert keys(at) == before


def test_callers_by_nexus_that_were_not_named_stop_it(at: World) -> None:
    before = keys(at)
    done = CliRunner().invoke(app, ["sweep", "temporal", "--delete"])
    assert done.exit_code == 1
    assert "Nexus endpoints lead to" in done.stderr
    assert keys(at) == before


def test_several_namespaces_are_swept_together_and_no_other(at: World) -> None:
    other = completed(new_namespace(at.server)).namespace
    before, lost = keys(at), completed(at.keys_of(at.dead))
    completed(orphans(at, other, 2))
    completed(orphans(at, "a namespace that is not named", 2))
    mine = {key for key in keys(at) - before if key.startswith(completed(prefix_of(at, other)))}
    theirs = keys(at) - before - mine
    named = ("--namespace", at.server.namespace, "--namespace", other)
    for _ in range(2):
        age(at.folder, LONG, at.server.namespace, other)
        assert run("--delete", *named).code == 0
    assert mine
    assert theirs
    assert keys(at) == (before | theirs) - lost


def test_ctrl_c_leaves_nothing_half_done(at: World) -> None:
    completed(orphans(at, at.server.namespace, _ORPHANS))
    age(at.folder, LONG, at.server.namespace)
    kept = completed(at.keys_of(at.live)) | {key for key in keys(at) if key.split("/")[1] == 32 * "0"}
    before = keys(at)
    assert run("--delete").code == 0
    age(at.folder, LONG, at.server.namespace)
    command = [
        sys.executable,
        "-c",
        "from coatcheck.cli import main; main()",
        "sweep",
        "temporal",
        "--delete",
    ]
    with subprocess.Popen(
        [*command, "--nexus-callers-listed", "--max-share", "1"], stderr=subprocess.PIPE, text=True
    ) as process:
        names = {key.rpartition("/")[2] for key in before}
        completed(until(lambda: not names <= names_now(at)))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")
    left = keys(at)
    assert kept < left & before, "it was interrupted too late to show anything"
    assert run("--delete").code == 0
    age(at.folder, timedelta(hours=2), at.server.namespace)
    assert run("--delete").code == 0
    assert keys(at) == kept
    assert completed(at.decode_all()) > 0


async def orphans(at: World, namespace: str, count: int) -> None:
    """Payloads of workflows that were never started."""
    chain = chain_on(at.folder)
    for number in range(count):
        await chain.encode(
            value(f"orphan {number}").encode(), Scope(namespace, f"orphan-{number}", engine="temporal")
        )


async def prefix_of(at: World, namespace: str) -> str:
    (found,) = {
        sealing.sealer(namespace, bytes(16), KEY.id).tenant_tag.hex()
        for sealing in chain_on(at.folder).sealings
    }
    return found


def names_now(at: World) -> set[str]:
    """Of every file."""
    return {path.name for path in at.folder.rglob("*") if path.is_file()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does to files, which nobody tells."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)
