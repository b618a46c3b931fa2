"""``coatcheck store``: what it says of stores that are fine, of those that are not, and what it leaves behind."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import psycopg
import pytest
from typer.testing import CliRunner

from coatcheck import (
    FileStore,
    LimitExceeded,
    MemoryStore,
    PayloadNotFound,
    StoreDenied,
    StoredObject,
    StoreUnavailable,
)
from coatcheck.cli.app import app
from coatcheck.cli.stores.probe import Finding, Probe
from coatcheck.contracts.store import DEFAULT_LIMIT
from tests.distributions import lay_out
from tests.engines.gcs import GCSServer
from tests.engines.postgres import PostgresServer
from tests.stores.s3_fixtures import REGION, Bucket

TRIALS = [
    *("missing", "write", "read", "create-if-absent", "replace"),
    *("large", "list", "order", "delete", "after-delete", "race"),
]
CASES = ["store", *TRIALS]
BUCKET_TOPICS = ["versioning", "encryption", "lifecycle"]


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each case."""
        return {line.split()[1]: line.split()[0] for line in self.out.splitlines()}

    def said(self, case: str) -> str:
        (line,) = (line for line in self.out.splitlines() if line.split()[1] == case)
        return line


def run(*arguments: str) -> Done:
    done = CliRunner().invoke(app, ["store", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(done.exit_code, done.stdout, done.stderr)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_folder_is_fine_and_left_empty(tmp_path: Path) -> None:
    done = run("check", f"file://{tmp_path}/objects")
    assert (done.code, done.err) == (0, "")
    assert done.verdicts == dict.fromkeys(CASES, "fine")
    assert f"FileStore('{tmp_path}/objects')" in done.said("store")
    assert all(" ms  " in line for line in done.out.splitlines()[1:])
    assert files(tmp_path) == []


def test_records(tmp_path: Path) -> None:
    done = run("check", "--json", f"file://{tmp_path}/objects")
    assert (done.code, done.err) == (0, "")
    records = json.loads(done.out)
    assert {tuple(sorted(record)) for record in records} == {("case", "name", "unit", "value")}
    assert [record["case"] for record in records if record["name"] == "ok"] == CASES
    for record in records:
        match record["name"]:
            case "ok":
                assert (record["value"], record["unit"]) == (1, "bool")
            case "latency":
                assert 0 < record["value"] < 60_000
                assert record["unit"] == "ms"
            case name:
                assert (name, record["unit"]) == ("said", "text")


def test_a_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("in the way")
    done = run("check", f"file://{tmp_path}/objects")
    assert done.code == 1
    assert done.verdicts["write"] == "problem"
    assert "objects is a file, which coatcheck did not create" in done.out
    records = json.loads(run("check", "--json", f"file://{tmp_path}/objects").out)
    assert {"case": "write", "name": "ok", "value": 0, "unit": "bool"} in records


@pytest.mark.parametrize("command", ["check", "init"])
@pytest.mark.parametrize("url", ["nowhere://user:hunter2@host", "s3://KEY:hunter2@bucket"])
def test_a_url_that_names_no_store(command: str, url: str) -> None:
    done = run(command, url)
    assert done.code == 1
    assert "hunter2" not in done.out + done.err
    assert "Traceback" not in done.out + done.err
    if command == "check":
        assert done.verdicts == {"open": "problem"}
    else:
        assert done.err.startswith("coatcheck store init: ")


def test_there_is_nothing_to_make_for_a_folder(tmp_path: Path) -> None:
    assert run("init", f"file://{tmp_path}/objects") == (
        0,
        "nothing to do: this store needs no preparation\n",
        "",
    )
    assert not (tmp_path / "objects").exists()


@pytest.mark.parametrize(("command", "said"), [("check", "fine     store"), ("init", "nothing to do")])
def test_without_a_url_it_is_the_store_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/objects")
    done = run(command)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(said)
    assert (tmp_path / "objects").exists() is (command == "check")
    monkeypatch.setenv("COATCHECK_OFFLOAD__OVER", "much")
    done = run(command)
    assert done.code == 1
    assert "offload.over: must be a whole number" in done.out + done.err


@pytest.fixture
def s3_url(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.secret_key)
    name = f"check-{secrets.token_hex(6)}"
    bucket.client.create_bucket(Bucket=name)
    return f"s3://{name}/prod?endpoint_url={bucket.server.endpoint}&region={REGION}"


def s3_name(url: str) -> str:
    return url.removeprefix("s3://").partition("/")[0]


def test_a_bucket_of_s3_is_fine_and_left_empty(bucket: Bucket, s3_url: str) -> None:
    done = run("check", s3_url)
    assert (done.code, done.err) == (0, "")
    assert list(done.verdicts) == [*CASES, *BUCKET_TOPICS]
    assert {done.verdicts[case] for case in CASES} == {"fine"}
    assert f"S3Store('{s3_name(s3_url)}', 'prod/')" in done.said("store")
    assert "first call" in done.said("missing")
    assert "16 MiB" in done.said("large")
    assert "off: deleted objects are gone" in done.said("versioning")
    assert "no rule deletes" in done.said("lifecycle")
    assert bucket.client.list_objects_v2(Bucket=s3_name(s3_url)).get("KeyCount") == 0


def test_settings_of_a_bucket_of_s3_are_reported(bucket: Bucket, s3_url: str) -> None:
    name = s3_name(s3_url)
    bucket.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    bucket.client.put_bucket_lifecycle_configuration(
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "a-month",
                    "Status": "Enabled",
                    "Filter": {"Prefix": "prod/"},
                    "Expiration": {"Days": 30},
                }
            ]
        },
    )
    done = run("check", s3_url)
    assert done.code == 1
    assert "on: deleted objects can be restored" in done.said("versioning")
    assert "the bucket has no default" in done.said("encryption")
    assert done.verdicts["lifecycle"] == "problem"
    assert "deletes objects below 'prod/' after 30 days" in done.said("lifecycle")


def test_who_may_only_read_is_told_so(bucket: Bucket, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.reader_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.reader_secret_key)
    done = run("check", s3_url)
    assert done.code == 1
    assert done.verdicts["write"] == "problem"
    assert "403 AccessDenied" in done.said("write")
    assert done.verdicts["read"] == "unknown"
    assert "403 AccessDenied" in done.said("delete")
    # It goes on, and nobody is sent to delete what is not there.
    assert list(done.verdicts) == [*CASES, *BUCKET_TOPICS]
    assert done.err == ""
    assert bucket.client.list_objects_v2(Bucket=s3_name(s3_url)).get("KeyCount") == 0


def test_a_bucket_of_s3_that_is_not_there(s3_url: str) -> None:
    done = run("check", s3_url.replace("check-", "missing-"))
    assert done.code == 1
    assert list(done.verdicts) == ["store", "missing", "write", *BUCKET_TOPICS]
    assert "there is no bucket 'missing-" in done.out
    assert done.err == ""


def test_a_bucket_of_gcs(gcs_server: GCSServer) -> None:
    name = f"check-{secrets.token_hex(6)}"
    asked = Request(  # noqa: S310 - the server on loopback
        f"{gcs_server.endpoint}/storage/v1/b?project=tests",
        data=json.dumps({"name": name, "versioning": {"enabled": True}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(asked, timeout=10):  # noqa: S310
        pass
    done = run("check", f"gs://{name}/prod?endpoint_url={gcs_server.endpoint}")
    assert (done.code, done.err) == (0, "")
    assert done.verdicts == dict.fromkeys([*CASES, *BUCKET_TOPICS], "fine")
    assert "on: deleted objects can be restored" in done.said("versioning")
    with urlopen(f"{gcs_server.endpoint}/storage/v1/b/{name}/o", timeout=10) as answer:  # noqa: S310
        assert "items" not in json.load(answer)


def test_a_table_of_postgresql(postgres_server: PostgresServer) -> None:
    table = f"check_{secrets.token_hex(6)}"
    url = f"{postgres_server.dsn()}?table={table}"
    for _ in range(2):
        assert run("init", url) == (0, f"table {table} is ready\n", "")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        where = f"SELECT count(*) FROM {table}"  # noqa: S608 - the name was made above
        assert connection.execute(where.encode()).fetchone() == (0,)
        done = run("check", url)
        assert (done.code, done.err) == (0, "")
        assert done.verdicts == dict.fromkeys(CASES, "fine")
        assert connection.execute(where.encode()).fetchone() == (0,)


def test_a_wrong_password_of_postgresql_is_not_repeated(postgres_server: PostgresServer) -> None:
    done = run("check", postgres_server.dsn(password="hunter2"))  # noqa: S106
    assert done.code == 1
    assert done.verdicts["write"] == "problem"
    assert done.err == ""
    assert "hunter2" not in done.out + done.err


class Overwriting(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        await self.replace(key, data)
        return True


class Unwilling(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        await super().create(key, data)
        return False


class Garbling(MemoryStore):
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        return (await super().get(key, limit))[:-1]


class Hiding(MemoryStore):
    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        nothing: list[StoredObject] = []
        for found in nothing:
            yield found


class Keeping(MemoryStore):
    async def delete(self, key: str) -> None:
        pass


class Disorderly(MemoryStore):
    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        return (await super().list_first(prefix, 1_000))[-count:]


class Marking(MemoryStore):
    """As a server that takes the mark of a delete for an object."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: set[str] = set()

    async def create(self, key: str, data: bytes) -> bool:
        return key not in self.marks and await super().create(key, data)

    async def delete(self, key: str) -> None:
        self.marks.add(key)
        await super().delete(key)


class Small(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        if len(data) > 1_000_000:
            raise LimitExceeded("413", "", key)
        return await super().create(key, data)


class Secretive(MemoryStore):
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        try:
            return await super().get(key, limit)
        except PayloadNotFound:
            raise StoreDenied("403", "", key) from None


class Down(MemoryStore):
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        raise StoreUnavailable("it is down", "Wait.", key)


class Leaky(MemoryStore):
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        raise RuntimeError("hunter2")


@pytest.mark.parametrize(
    ("store", "problems", "said"),
    [
        (Overwriting(), ["create-if-absent", "race"], "writers would overwrite each other"),
        (Unwilling(), [*TRIALS[1:8], "after-delete", "race"], "exists"),
        (
            Garbling(),
            ["read", "create-if-absent", "replace", "large", "after-delete", "race"],
            "the data read differs from the data written",
        ),
        (Hiding(), ["list", "order"], "a listing shows the sizes [[], [], [], [], []] for 5 objects"),
        (Disorderly(), ["order"], "not the first by key"),
        (Keeping(), ["delete", "after-delete", "race"], "a deleted object is still there"),
        (Marking(), ["after-delete"], "cannot be created again"),
        (Small(), ["large"], "413"),
        (Secretive(), ["missing"], "a missing object is reported as access denied"),
        (Down(), ["missing", "read", "create-if-absent"], "it is down"),
        (
            Leaky(),
            ["missing", "read", "create-if-absent"],
            "the store raises RuntimeError, which is not a coatcheck error",
        ),
    ],
)
async def test_what_a_store_does_wrong_is_found(store: MemoryStore, problems: list[str], said: str) -> None:
    probe = Probe(store)
    findings = await probe.run()
    assert [finding.case for finding in findings if not finding.fine] == problems
    assert any(said in finding.said for finding in findings)
    assert "hunter2" not in str(findings)
    assert (store._objects != {}) is isinstance(store, Keeping)
    assert all(key.startswith("coatcheck-probe/") for key in store._objects)
    assert probe.left_behind == []  # Each delete said that it was done.


class Stuck(MemoryStore):
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        raise StoreUnavailable("it went down", "Wait.", key)

    async def delete(self, key: str) -> None:
        raise StoreUnavailable("it went down", "Wait.", key)


async def test_an_object_that_cannot_be_removed_is_named() -> None:
    probe = Probe(store := Stuck())
    assert [finding.fine for finding in await probe.run()] == [False, True, False, False]
    assert probe.left_behind == sorted(store._objects)
    assert {key.split("/")[0] for key in store._objects} == {"coatcheck-probe"}


class Refusing(MemoryStore):
    """As a bucket for those who may only read."""

    async def create(self, key: str, data: bytes) -> bool:
        raise StoreDenied("403", "", key)

    async def replace(self, key: str, data: bytes) -> None:
        raise StoreDenied("403", "", key)

    async def delete(self, key: str) -> None:
        raise StoreDenied("403", "", key)


async def test_after_a_refused_write_nothing_is_said_to_be_left() -> None:
    """It told people to delete an object by hand that was never there."""
    probe = Probe(Refusing())
    findings = {finding.case: finding.fine for finding in await probe.run()}
    assert list(findings) == TRIALS
    assert [case for case, fine in findings.items() if fine is False] == ["write", "delete"]
    assert findings["read"] is findings["after-delete"] is None
    assert probe.left_behind == []


class Locked(MemoryStore):
    """Takes everything, and gives nothing back."""

    async def delete(self, key: str) -> None:
        raise StoreDenied("403: it is locked", "", key)


async def test_what_is_locked_is_named_as_left() -> None:
    probe = Probe(store := Locked())
    findings = {finding.case: finding for finding in await probe.run()}
    assert findings["delete"].fine is False
    assert findings["after-delete"].fine is None
    assert probe.left_behind == sorted(store._objects)


async def test_credentials_that_only_read_are_tried_without_a_write() -> None:
    store = Refusing()
    assert [(finding.case, finding.fine) for finding in await Probe(store, read_only=True).run()] == [
        ("missing", True),
        ("list", True),
        ("read", None),
    ]
    store._objects["t/s/o"] = (b"payload", datetime.now(UTC))
    findings = await Probe(store, read_only=True).run()
    assert all(finding.fine for finding in findings)
    assert findings[-1].said == "an object of 7 bytes is read"


def test_a_reader_of_s3_is_tried_without_a_write(
    bucket: Bucket, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.client.put_object(Bucket=s3_name(s3_url), Key="prod/t/s/o", Body=b"payload")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.reader_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.reader_secret_key)
    done = run("check", "--read-only", s3_url)
    assert (done.code, done.err) == (0, "")
    assert list(done.verdicts) == ["store", "missing", "list", "read", *BUCKET_TOPICS]
    assert {done.verdicts[case] for case in ("missing", "list", "read")} == {"fine"}


def test_suspended_versioning_is_said_to_be_so(bucket: Bucket, s3_url: str) -> None:
    for status in ("Enabled", "Suspended"):
        bucket.client.put_bucket_versioning(
            Bucket=s3_name(s3_url),
            VersioningConfiguration={"Status": status},
        )
    assert "suspended: objects deleted now are gone" in run("check", s3_url).said("versioning")


async def test_cancelled_at_every_step_nothing_is_left(tmp_path: Path) -> None:
    steps, findings = 0, list[Finding]()
    while len(findings) < len(TRIALS):
        task = asyncio.ensure_future(Probe(FileStore(tmp_path)).run())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        try:
            findings = await task
        except asyncio.CancelledError:
            findings = []
        assert files(tmp_path) == []
        steps = steps + 1 if steps < 24 else steps * 5 // 4


SLOW_STORE = """
import asyncio, sys
from pathlib import Path
from coatcheck.stores.file import FileStore

class Slow(FileStore):
    where = None

    async def step(self, name):
        if name == self.where:
            print(name, flush=True)
            await asyncio.sleep(0.5 if name == "create" else 60)

    async def create(self, key, data):
        await self.step("create")
        return await super().create(key, data)

    async def get(self, key, limit=2**30):
        await self.step("get")
        return await super().get(key, limit)

def open_slow(url):
    store = Slow(url.partition("://")[2])
    store.where = store.folder.name
    return store
"""


@pytest.mark.parametrize("where", ["create", "get"])
def test_an_interrupt_leaves_no_object(tmp_path: Path, where: str) -> None:
    module = lay_out(tmp_path / "slow", "slow_store", SLOW_STORE, stores={"slow": "open_slow"})
    folder = tmp_path / where
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from coatcheck.cli import main; main()",
            "store",
            "check",
            f"slow://{folder}",
        ],
        env={**os.environ, "PYTHONPATH": str(module)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{where}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    assert folder.exists() is (where == "create")
    assert files(folder) == []
