"""``coatcheck keys`` and ``coatcheck rekey``, on keys in a file, in the environment, and in AWS KMS."""

import asyncio
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coatcheck import Chain, IntegrityError, Key, KeyDestroyed, Keyring, KeyUnavailable, Scope
from coatcheck.cli.app import app
from coatcheck.cli.keys.key_file import rotate_file
from coatcheck.settings.model import Settings
from tests.chains import KEY, OTHER_KEY
from tests.engines.aws_kms import REGION, AwsKmsServer
from tests.engines.openbao import OpenBao


def run(*arguments: str, answer: str = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments), input=answer)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def refusal(*arguments: str) -> str:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    return err


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COATCHECK_KEYS", raising=False)
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", f"file://{tmp_path}/objects")


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{KEY.to_text()}\n{OTHER_KEY.to_text()}\n")
    path.chmod(0o600)
    monkeypatch.setenv("COATCHECK_KEYRING__FILE", str(path))
    return path


@pytest.fixture
def kms(aws_kms: AwsKmsServer, monkeypatch: pytest.MonkeyPatch) -> AwsKmsServer:
    for name, value in {
        "AWS_ENDPOINT_URL_KMS": aws_kms.endpoint,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": REGION,
        "COATCHECK_KEYRING__KMS": aws_kms.new_key(),
        "COATCHECK_KEYRING__LABEL": "prod",
    }.items():
        monkeypatch.setenv(name, value)
    return aws_kms


def encode(payload: bytes, tenant: str) -> bytes:
    async def encoded() -> bytes:
        async with Chain.from_settings() as chain:
            return await chain.encode(payload, Scope(tenant))

    return asyncio.run(encoded())


def decode(journal: bytes, tenant: str) -> bytes:
    async def decoded() -> bytes:
        async with Chain.from_settings() as chain:
            return await chain.decode(journal, Scope(tenant))

    return asyncio.run(decoded())


def listed(*arguments: str) -> list[dict[str, object]]:
    code, out, _ = run("keys", "list", "--json", *arguments)
    assert code == 0
    found: list[dict[str, object]] = json.loads(out)
    return found


def test_new_prints_a_key() -> None:
    code, out, _ = run("keys", "new")
    assert code == 0
    assert Key.from_text(out)


def test_keys_in_the_environment_are_listed_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", f"{KEY.to_text()},{OTHER_KEY.to_text()}")
    code, out, _ = run("keys", "list")
    assert code == 0
    assert out == (
        f"COATCHECK_KEYS\nkey       role\n{KEY.id.hex()}  primary\n{OTHER_KEY.id.hex()}  decrypt-only\n"
    )
    assert "no command can change. Make a key with `coatcheck keys new`" in refusal("keys", "rotate")
    assert "the same keys for all tenants: shredding one tenant's would shred all" in refusal(
        "keys", "shred", "t", "--yes"
    )
    assert "there is nothing to wrap" in refusal("rekey")


def test_a_file_is_rotated_whole_and_keeps_its_mode(key_file: Path) -> None:
    journal = encode(b"old", "t")
    code, out, _ = run("keys", "rotate")
    assert code == 0
    rotated = Keyring.from_file(key_file)
    assert rotated.ids[1:] == (KEY.id, OTHER_KEY.id)
    assert out == f"the primary is now {rotated.primary.id.hex()}\n"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [path.name for path in key_file.parent.iterdir() if path.name != "objects"] == ["keys"]
    assert decode(journal, "t") == b"old"
    assert encode(b"old", "t") != journal
    assert [key["key_id"] for key in listed()] == [key_id.hex() for key_id in rotated.ids]
    assert "Name no tenant" in refusal("keys", "rotate", "t")
    assert "would shred all" in refusal("keys", "shred", "t")


def test_rotations_of_a_file_at_once_lose_no_key(key_file: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(rotate_file, [key_file] * 8))
    assert set(Keyring.from_file(key_file).ids) == {KEY.id, OTHER_KEY.id, *(key.id for key in made)}


def test_a_file_that_others_may_read_is_refused(key_file: Path) -> None:
    key_file.chmod(0o644)
    assert "chmod 600" in refusal("keys", "rotate")
    assert "chmod 600" in refusal("keys", "list")


def test_keys_in_two_places_are_refused(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    assert "Unset one of them" in refusal("keys", "list")
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", "arn:aws:kms:x")
    assert "set only one" in refusal("keys", "list")


@pytest.mark.parametrize("name", ["alias/x", "arn:aws:s3:::bucket", "projects/p"])
def test_what_is_no_key_of_a_kms_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", name)
    monkeypatch.setenv("COATCHECK_KEYRING__LABEL", "prod")
    assert name in refusal("keys", "list")


def test_settings_that_need_a_kms_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYRING__MAX_AGE", "60")
    assert "require keyring.kms" in refusal("keys", "list")


def test_a_kms_needs_a_label_for_the_store(kms: AwsKmsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COATCHECK_KEYRING__LABEL")
    assert "keyring.kms requires keyring.label: a name for this store" in refusal("keys", "list")
    monkeypatch.setenv("COATCHECK_KEYRING__LABEL", "a b")
    assert "keyring.label" in refusal("keys", "list")


def test_tenants_keys_are_listed_rotated_and_shredded(kms: AwsKmsServer) -> None:
    large = bytes(range(256)) * 256
    mine, theirs = encode(large, "mine"), encode(b"theirs", "theirs")
    assert len(listed()) == 2
    [key] = listed("--tenant", "mine")
    assert key["primary"] is True
    code, out, _ = run("keys", "rotate", "mine")
    assert code == 0
    assert [one["primary"] for one in listed("--tenant", "mine")] == [False, True]
    assert out == f"the primary is now {listed('--tenant', 'mine')[1]['key_id']}\n"
    assert run("keys", "rotate", "--all")[1].count("the primary is now") == 2
    assert "use --all" in refusal("keys", "rotate")
    assert "use --all" in refusal("keys", "rotate", "mine", "--all")
    assert decode(mine, "mine") == large

    assert "the tenant 'typo' has no keys. Check its name. Nothing was destroyed" in refusal(
        "keys", "shred", "typo"
    )
    code, out, _ = run("keys", "shred", "mine", answer="n\n")
    assert code == 1
    assert len(listed("--tenant", "mine")) == 3
    code, out, _ = run("keys", "shred", "mine", "--yes")
    assert code == 0
    assert out.startswith("destroyed 3: ")
    assert "within 300 s" in out
    with pytest.raises(KeyUnavailable, match="destroyed on"):
        decode(mine, "mine")
    assert decode(theirs, "theirs") == b"theirs"


def test_keys_of_vault_are_made_wrapped_anew_and_shredded(
    openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (f"{openbao.new_key()}?endpoint_url={openbao.endpoint}" for _ in range(2))
    monkeypatch.setenv("VAULT_TOKEN", openbao.token())
    monkeypatch.setenv("COATCHECK_KEYRING__LABEL", "prod")
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", old)
    journal = encode(b"payload", "t")
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", new)
    monkeypatch.setenv("COATCHECK_KEYRING__DECRYPT_ONLY", old)
    assert run("rekey")[0] == 0
    openbao.destroy(old.partition("?")[0])
    monkeypatch.delenv("COATCHECK_KEYRING__DECRYPT_ONLY")
    assert decode(journal, "t") == b"payload"
    assert [key["service"] for key in listed()] == [new.partition("?")[0]]
    assert run("keys", "shred", "t", "--yes")[0] == 0
    with pytest.raises(KeyDestroyed):
        decode(journal, "t")


def test_a_misspelt_tenant_gets_no_key(kms: AwsKmsServer, tmp_path: Path) -> None:
    commands = (("rotate", "nope"), ("rotate", "--all"), ("list",), ("list", "--tenant", "nope"))
    for command in commands:
        assert "has " in refusal("keys", *command)
    assert "no tenant has a key" in refusal("rekey")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "to look makes nothing"
    encode(b"payload", "mine")
    assert "the tenant 'nope' has no key. Check its name. To make its first key" in refusal(
        "keys", "rotate", "nope"
    )
    assert "the tenant 'nope' has no keys in the store" in refusal(
        "keys", "list", "--json", "--tenant", "nope"
    )
    assert "--new is for one tenant" in refusal("keys", "rotate", "--all", "--new")
    assert len(listed()) == 1
    code, out, _ = run("keys", "rotate", "nope", "--new")
    assert code == 0
    [made] = listed("--tenant", "nope")
    assert out == f"the primary is now {made['key_id']}\n"
    assert run("keys", "rotate", "nope", "--new")[0] == 0
    assert len(listed("--tenant", "nope")) == 2


def test_after_a_shredding_a_key_is_made_only_where_that_is_said(kms: AwsKmsServer) -> None:
    encode(b"payload", "mine")
    assert run("keys", "shred", "mine", "--yes")[0] == 0
    assert "has no key" in refusal("keys", "rotate", "mine")
    assert run("keys", "rotate", "mine", "--new")[0] == 0
    assert len(listed()) == 1


def test_the_list_of_tenants_keys_fits_a_terminal(kms: AwsKmsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = kms.new_key(region="us-gov-west-1")
    assert len(arn) > 80
    short = str(Settings.load().keyring.kms)
    monkeypatch.setenv("COATCHECK_KEYRING__DECRYPT_ONLY", short)
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", arn)
    encode(b"payload", "mine")
    monkeypatch.setenv("COATCHECK_KEYRING__DECRYPT_ONLY", arn)
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", short)
    run("keys", "rotate", "mine")
    whole = listed()
    assert [one["service"] for one in whole] == [arn, short]
    code, out, _ = run("keys", "list")
    assert code == 0
    first, *rows = out.splitlines()
    assert len(short) <= 80
    assert max(map(len, (first, *rows))) <= 80
    assert first == f"{arn[:40]}…{arn[-39:]}"
    heading = f"{'tenant':32}  no.  key       role          made at (UTC)"
    tables = [
        f"{one['tenant_tag']}  {one['number']:<3}  {one['key_id']}  {role}  {made[:10]} {made[11:16]}"
        for one, role in zip(whole, ("decrypt-only", "primary     "), strict=True)
        for made in [str(one["created_at"])]
    ]
    assert rows == [heading, tables[0], "", short, heading, tables[1]]


def test_rekey_lets_a_key_of_the_kms_retire(kms: AwsKmsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = encode(b"payload", "t")
    [before] = listed()
    monkeypatch.setenv("COATCHECK_KEYRING__DECRYPT_ONLY", str(before["service"]))
    monkeypatch.setenv("COATCHECK_KEYRING__KMS", kms.new_key())
    assert decode(journal, "t") == b"payload"
    code, out, _ = run("rekey")
    assert code == 0
    assert out.startswith("wrapped 2 keys with arn:aws:kms:")
    monkeypatch.delenv("COATCHECK_KEYRING__DECRYPT_ONLY")
    [after] = listed()
    assert after["key_id"] == before["key_id"]
    assert after["service"] != before["service"]
    assert decode(journal, "t") == b"payload"
    assert encode(b"payload", "t") == journal


def test_a_store_that_is_renamed_is_wrapped_anew_and_then_bears_one_label(
    kms: AwsKmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = encode(b"payload", "t")
    monkeypatch.setenv("COATCHECK_KEYRING__LABEL", "prod-eu")
    with pytest.raises(IntegrityError, match="wrapped for the store 'prod', and this is 'prod-eu'"):
        decode(journal, "t")
    monkeypatch.setenv("COATCHECK_KEYRING__FORMER_LABELS", "prod,older")
    assert decode(journal, "t") == b"payload"
    assert run("rekey")[0] == 0
    monkeypatch.delenv("COATCHECK_KEYRING__FORMER_LABELS")
    assert decode(journal, "t") == b"payload"
