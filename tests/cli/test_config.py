"""The settings, without their secrets."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coatcheck.cli.app import app
from tests.chains import KEY, OTHER_KEY
from tests.engines.tls import authority

SECRET = "hunter2"
TOML = f"""
accept_plain = false
[codec.zstd]
level = 9
[offload]
store = "postgresql://user:{SECRET}@host/payloads"
replicas = ["postgresql://user:{SECRET}@far/payloads"]
[offload.read_also]
old = "s3://old-bucket/prefix"
"""


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("COATCHECK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["config", "show", *arguments])
    assert done.exit_code == 0, done.output
    assert SECRET not in done.output
    assert KEY.to_text() not in done.output
    return done.output


def test_what_is_set_where_is_said_and_nothing_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coatcheck.toml").write_text(TOML)
    monkeypatch.setenv("COATCHECK_KEYS", f"{KEY.to_text()},{OTHER_KEY.to_text()}")
    monkeypatch.setenv("COATCHECK_OFFLOAD__OVER", "77")
    monkeypatch.setenv("COATCHECK_CA_BUNDLE", str(authority(tmp_path)[1]))
    lines = [" ".join(line.split()) for line in shown().splitlines()]
    assert lines[:2] == [
        "file coatcheck.toml",
        f"keys {KEY.id.hex()} (primary), {OTHER_KEY.id.hex()}",
    ]
    for line in (
        "codecs zstd (default)",
        "codec.zstd level = 9 (coatcheck.toml)",
        "encrypt true (default)",
        "accept_plain false (coatcheck.toml)",
        "offload.over 77 (variable)",
        f"ca_bundle {tmp_path}/issuer.pem (variable)",
        "offload.deadline 8 (default)",
        "keyring.kms none (default)",
        "serve.port 8081 (default)",
    ):
        assert line in lines
    [store] = [line for line in lines if line.startswith("offload.store")]
    assert store.startswith("offload.store PostgresStore(")
    [old] = [line for line in lines if line.startswith("offload.read_also.old")]
    assert "old-bucket" in old


def test_json_has_the_same() -> None:
    found = json.loads(shown("--json"))
    assert found["file"] is None
    assert "COATCHECK_KEYS contains no key" in found["keys"]
    assert {"setting": "encrypt", "value": "true", "from": "default"} in found["settings"]


def test_settings_that_cannot_be_used_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_OFFLOD__STORE", SECRET)
    done = CliRunner().invoke(app, ["config", "show"])
    assert done.exit_code == 1
    assert "did you mean COATCHECK_OFFLOAD__STORE?" in done.output
    assert SECRET not in done.output


def test_each_rule_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    (tmp_path / "coatcheck.toml").write_text(
        '[[rules]]\nname = "activity:*"\nover = 0\n[[rules]]\nname = "signal:*"\ninline = true\n'
    )
    lines = [" ".join(line.split()) for line in shown().splitlines()]
    assert [line for line in lines if line.startswith("rules")] == [
        "rules Rule('activity:*', over=0) (coatcheck.toml)",
        "rules Rule('signal:*', inline=True) (coatcheck.toml)",
    ]
    (tmp_path / "coatcheck.toml").write_text("")
    assert "rules none (default)" in [" ".join(line.split()) for line in shown().splitlines()]
