"""Stores and codecs by name, and every way in which a distribution can get it wrong."""

import tomllib
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from coatcheck import ConfigError, FileStore, PayloadNotFound, StoreDenied, Zstd
from coatcheck.settings import registry
from coatcheck.settings.registry import CODECS, STORES, make_codec, names, open_store, scheme_of
from tests.distributions import lay_out

SECRET = "hunter2"
ROOT = Path(__file__).parents[2]

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(name: str, source: str, **entries: dict[str, str]) -> None:
        monkeypatch.syspath_prepend(lay_out(tmp_path / name, name, source, **entries))

    return install


def test_what_is_ours_is_registered_as_pyproject_says() -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    entries = distribution("coatcheck").entry_points
    for group in (STORES, CODECS):
        assert {entry.name: entry.value for entry in entries.select(group=group)} == said[group]
        for entry in entries.select(group=group):
            assert callable(entry.load())


def test_names_are_found() -> None:
    assert {"file", "gs", "postgres", "postgresql", "s3"} <= set(names(STORES))
    assert "zstd" in names(CODECS)
    store = open_store("FILE:///folder")
    assert isinstance(store, FileStore)
    assert make_codec("zstd") == Zstd()
    assert make_codec("zstd", {"level": 9}) == Zstd(level=9)


@pytest.mark.parametrize(
    "url", ["", "folder", "/folder", "file:/folder", "C:\\folder", "s3:bucket", "://bucket", "u:hunter2@h/db"]
)
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not a store URL\. Expected file:///") as info:
        scheme_of(url)
    assert SECRET not in str(info.value)


@pytest.mark.parametrize(("scheme", "guess"), [("gcs", "gs"), ("postgress", "postgres"), ("redis", "")])
def test_an_unknown_store_names_those_that_are_there(scheme: str, guess: str) -> None:
    with pytest.raises(ConfigError) as info:
        open_store(f"{scheme}://user:{SECRET}@host")
    assert f"the store {scheme!r} is not installed; there are " in str(info.value)
    assert ", postgresql, s3" in str(info.value)
    assert f"one with the entry point {scheme!r} in coatcheck.stores." in str(info.value)
    assert (f"Did you mean {guess}?" in str(info.value)) is bool(guess)
    assert SECRET not in str(info.value)


def test_an_unknown_codec_names_those_that_are_there() -> None:
    with pytest.raises(
        ConfigError, match=r"the codec 'zsdt' is not installed; there are .*zstd.*Did you mean zstd\?"
    ):
        make_codec("zsdt")


def test_without_metadata_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_wanted: ())
    with pytest.raises(ConfigError, match="its metadata is missing"):
        open_store("file:///folder")


@pytest.mark.parametrize("kind", ["stores", "codecs"])
def test_a_name_of_ours_cannot_be_taken(install: Install, kind: str) -> None:
    name = {"stores": "s3", "codecs": "zstd"}[kind]
    install(f"thief_{kind}", "raise RuntimeError('it ran')", **{kind: {name: "anything"}})
    with pytest.raises(ConfigError, match=rf"{name!r} is registered by coatcheck \S+ and thief_{kind} 1.0"):
        open_store("s3://bucket") if kind == "stores" else make_codec("zstd")
    assert isinstance(open_store("file:///folder"), FileStore)


def test_two_strangers_cannot_share_a_name(install: Install) -> None:
    for name in ("stranger_one", "stranger_two"):
        install(name, "raise RuntimeError('it ran')", stores={"strange": "anything"})
    with pytest.raises(ConfigError, match=r"registered by stranger_one 1\.0 and stranger_two 1\.0"):
        open_store("strange://")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("needs_more", "import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
        ("is_broken", "raise RuntimeError('broken.')", "RuntimeError: broken"),
        ("lacks_it", "", "AttributeError: module 'lacks_it' has no attribute 'make'"),
    ],
)
def test_one_that_cannot_be_imported_is_named(install: Install, name: str, source: str, said: str) -> None:
    install(name, source, stores={"broken": "make"})
    with pytest.raises(ConfigError) as info:
        open_store("broken://")
    assert info.value.what == f"the store 'broken' of {name} 1.0 cannot be imported: {said}"


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("no_callable", "make = 3", "is not callable"),
        ("no_store", "make = str.upper", "returns str, which is not a Store"),
        ("raiser", "def make(url):\n    raise ValueError(url)", "raises ValueError (raiser.py, line 2)"),
    ],
)
def test_one_that_misbehaves_is_named_and_the_url_is_not(
    install: Install, name: str, source: str, said: str
) -> None:
    install(name, source, stores={"odd": "make"})
    with pytest.raises(ConfigError) as info:
        open_store(f"odd://user:{SECRET}@host")
    assert info.value.what == f"the store 'odd' of {name} 1.0 {said}"
    assert SECRET not in str(info.value)
    assert info.value.__cause__ is info.value.__context__ is None


@pytest.mark.parametrize("error", [StoreDenied, PayloadNotFound, ConfigError])
def test_typed_errors_pass(install: Install, error: type[Exception]) -> None:
    name = f"typed_{error.__name__.lower()}"
    install(
        name,
        f"from coatcheck import {error.__name__}\ndef make(url):\n    raise {error.__name__}('no', 'Go.')",
        stores={"typed": "make"},
    )
    with pytest.raises(error, match="no"):
        open_store("typed://")


CODEC = """
from coatcheck import Codec
class Named(Codec):
    name = "other"
    def encode(self, data): return None
    def decode(self, data, limit): return bytes(data)
class Free(Named):
    name = "free"
    def __init__(self, **options): self.options = options
make = dict
"""


def test_a_codec_must_have_the_name_that_it_is_registered_under(install: Install) -> None:
    install("misnamed", CODEC, codecs={"named": "Named", "free": "Free", "none": "make", "bare": "dict"})
    with pytest.raises(ConfigError, match=r"that misnamed 1\.0 registers as 'named' calls itself 'other'"):
        make_codec("named")
    with pytest.raises(
        ConfigError, match=r"the codec 'none' of misnamed 1\.0 returns dict, which is not a Codec"
    ):
        make_codec("none")
    assert vars(make_codec("free", {"any": 1})) == {"options": {"any": 1}}


def test_an_unknown_option_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"the codec 'zstd' has no option 'lvl'\. It has: level\."):
        make_codec("zstd", {"lvl": 3})


def test_a_wrong_option_is_the_codecs_affair() -> None:
    with pytest.raises(ConfigError, match="Zstandard has no level 99"):
        make_codec("zstd", {"level": 99})
    with pytest.raises(
        ConfigError, match=r"the codec 'zstd' of coatcheck \S+ raises TypeError \(zstd.py, line"
    ):
        make_codec("zstd", {"level": "high"})
