"""Keys: named by what they are, found by id, never shown."""

import pickle
from pathlib import Path

import pytest

from coatcheck import ConfigError, Key, Keyring, KeyUnavailable
from tests.chains import KEY, OTHER_KEY


def test_a_key_comes_back_from_its_text() -> None:
    key = Key.generate()
    assert Key.from_text(key.to_text()) == key
    assert Key.from_text(f"  {key.to_text()}\n") == key
    assert len(key.to_text()) == 44
    assert Key.generate() != key


@pytest.mark.parametrize("text", ["", "abc", "!" * 44, "A" * 40, KEY.to_text() + "AAAA"])
def test_text_that_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Key.from_text(text)
    assert not text or text not in str(caught.value)


def test_the_secret_is_in_no_repr() -> None:
    assert repr(KEY) == f"Key(id={KEY.id!r})"
    assert repr(Keyring(KEY, OTHER_KEY)) == f"Keyring({KEY.id.hex()}, {OTHER_KEY.id.hex()})"


def test_the_environment_lists_the_primary_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", f"{KEY.to_text()}, {OTHER_KEY.to_text()},")
    keyring = Keyring.from_env()
    assert keyring.primary == KEY
    assert keyring.find(OTHER_KEY.id) == OTHER_KEY


@pytest.mark.parametrize("value", [None, "", " , "])
def test_no_key_in_the_environment_says_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("COATCHECK_KEYS", raising=False)
    if value is not None:
        monkeypatch.setenv("COATCHECK_KEYS", value)
    with pytest.raises(ConfigError, match=r"COATCHECK_KEYS contains no key.*coatcheck keys new"):
        Keyring.from_env()


def test_a_key_that_is_not_held_is_named_with_those_that_are() -> None:
    with pytest.raises(
        KeyUnavailable, match=rf"{OTHER_KEY.id.hex()}; the keyring has {KEY.id.hex()}"
    ) as caught:
        Keyring(KEY).find(OTHER_KEY.id)
    assert caught.value.retryable


def test_the_same_key_twice_is_one_key() -> None:
    assert Keyring(KEY, KEY).find(KEY.id) == KEY


def test_errors_survive_pickling() -> None:
    with pytest.raises(KeyUnavailable) as caught:
        Keyring(KEY).find(b"none")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert str(again) == str(caught.value)


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_lists_the_primary_first(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"# primary:\n\n{KEY.to_text()}   # since May\n  {OTHER_KEY.to_text()}\n")
    assert Keyring.from_file(path).ids == (KEY.id, OTHER_KEY.id)
    assert Keyring.from_file(str(path)).primary == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o777])
def test_a_file_that_others_have_access_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, KEY.to_text(), mode)
    with pytest.raises(ConfigError, match=r"others than its owner.*chmod 600") as caught:
        Keyring.from_file(path)
    assert KEY.to_text() not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "AAAA\n", KEY.to_text()[:-1], "\u00e4"])
def test_a_file_without_a_key_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Keyring.from_file(key_file(tmp_path, text))
    assert not text or text.strip() not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*coatcheck keys new"):
        Keyring.from_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="Is a directory"):
        Keyring.from_file(tmp_path)
