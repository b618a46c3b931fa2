"""The file that ``coatcheck init`` writes, and what it refuses to write."""

import json
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coatcheck import Chain, FileStore, Scope
from coatcheck.cli.app import app
from coatcheck.cli.init import TEMPLATE
from coatcheck.settings.model import OffloadSettings, Settings
from tests.chains import KEY

SECRET = "hunter2"
EXAMPLE = re.compile(r"^# (\[{0,2}[a-z_.]+(?: = |\]).*)")


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("COATCHECK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def written(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["init", *arguments])
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str) -> str:
    """The line; no file is left but what was there before."""
    before = {path: path.read_bytes() for path in Path.cwd().iterdir()}
    done = CliRunner().invoke(app, ["init", *arguments])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert SECRET not in done.stderr
    assert {path: path.read_bytes() for path in Path.cwd().iterdir()} == before
    return done.stderr


def test_the_file_holds_what_holds_without_it_and_encrypts(tmp_path: Path) -> None:
    plain = Settings.load()
    out = written()
    assert Settings.load() == plain
    assert plain.encrypt
    assert "\nencrypt = true " in (tmp_path / "coatcheck.toml").read_text()
    assert out.splitlines()[:4] == [
        "wrote coatcheck.toml",
        f"payloads above 2,048 bytes go to {FileStore()!r}, encrypted",
        "next:",
        "  export COATCHECK_KEYS=$(coatcheck keys new) # a key: keep it secret, and never lose it",
    ]
    assert "Chain.from_settings()" in out
    assert stat.S_IMODE((tmp_path / "coatcheck.toml").stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "coatcheck.toml"]


def test_every_setting_stands_in_it_with_what_holds_without_it() -> None:
    """Each example, with its # taken away, is a setting of today."""
    lines = [EXAMPLE.sub(r"\1", line) for line in TEMPLATE.splitlines()]
    text = "\n".join(lines).replace("{store}", "")
    one, _, other = text.partition("\n[keyring]")
    file, _, rest = other.partition("\n[keyring]")
    for keyring in (file, rest):
        found = tomllib.loads(f"{one}\n[keyring]{keyring}")
        assert found.keys() == Settings.model_fields.keys()
        del found["ca_bundle"]
        loaded, plain = Settings.model_validate(found), Settings()
        differ = {"keyring", "offload", "rules", "serve", "codec"}
        assert loaded.model_dump(exclude=differ) == plain.model_dump(exclude=differ)
        assert loaded.codec == {"zstd": {"level": 3}}
        assert found["offload"].keys() | {"store"} == OffloadSettings.model_fields.keys()
        examples = {"store", "cache", "read_also"}
        assert loaded.offload.model_dump(exclude=examples) == plain.offload.model_dump(exclude=examples)
    assert max(map(len, TEMPLATE.splitlines())) <= 120


async def test_with_a_key_the_chain_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    out = written("--store", f"file://{tmp_path}/a%20folder")
    assert "export" not in out
    assert KEY.to_text() not in (tmp_path / "coatcheck.toml").read_text()
    payload = os.urandom(5000)
    async with Chain.from_settings() as chain:
        journal = await chain.encode(payload, Scope("t", "r"))
        assert await chain.decode(journal, Scope("t", "r")) == payload
    assert (tmp_path / "a folder").is_dir()


def test_json_has_the_same() -> None:
    found = json.loads(written("--json", "--store", "postgresql://user@host/payloads"))
    assert found == {
        "file": "coatcheck.toml",
        "store": "PostgresStore(table='coatcheck_objects', prefix='')",
        "encrypt": True,
        "next": [
            "export COATCHECK_KEYS=$(coatcheck keys new)",
            "coatcheck store init",
            "coatcheck store check",
            "coatcheck config show",
        ],
    }


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coatcheck.toml").write_text("max_payload = 1")
    assert "coatcheck.toml already exists and was not changed" in refused()
    monkeypatch.setenv("COATCHECK_CONFIG", "elsewhere.toml")
    assert written().startswith("wrote elsewhere.toml\n")
    assert "elsewhere.toml already exists" in refused()
    monkeypatch.setenv("COATCHECK_CONFIG", "nowhere/coatcheck.toml")
    assert "the folder of nowhere/coatcheck.toml does not exist" in refused()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://user:{SECRET}@host/db", "the store's URL contains a password"),
        (f"postgresql://user@host/db?password={SECRET}", "the store's URL contains a password"),
        (f"s3://bucket/{SECRET}?nothing=1", "unknown option 'nothing'"),
        (f"nowhere://{SECRET}", "the store 'nowhere' is not installed"),
        (f"just {SECRET}", "not a store URL"),
        (f'file:///folder"\n{SECRET} = 1', "malformed"),
    ],
)
def test_a_store_that_cannot_be_used_leaves_no_file(url: str, said: str) -> None:
    assert said in refused("--store", url)


def test_variables_that_say_otherwise_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", "file:///elsewhere")
    assert "COATCHECK_OFFLOAD__STORE names another store" in refused("--store", "file:///folder")
    monkeypatch.setenv("COATCHECK_OFFLOD__STORE", SECRET)
    assert "did you mean COATCHECK_OFFLOAD__STORE?" in refused()
    monkeypatch.delenv("COATCHECK_OFFLOD__STORE")
    monkeypatch.setenv("COATCHECK_ENCRYPT", "false")
    out = written()
    assert "go to FileStore('/elsewhere'), readable, since COATCHECK_ENCRYPT is false" in out
    assert "export" not in out
