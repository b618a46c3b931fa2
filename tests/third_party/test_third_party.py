"""Distributions that are built and installed as anyone would: what they register is found, and never overwritten."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
URL = "attic://{folder}/attic.db"
SETTINGS = """
codecs = ["attic-zlib"]
encrypt = false

[codec.attic-zlib]
level = 9

[offload]
store = "attic://{folder}/attic.db"
over = 10
"""
KEEP = """
import asyncio, base64
from coatcheck import Scope
from coatcheck.settings.model import Settings
chain = Settings.load().chain()
print(chain)
print(base64.b64encode(asyncio.run(chain.encode(b"attic " * 1000, Scope("t", "r")))).decode())
"""
FETCH = """
import asyncio, base64, sys
from coatcheck import Scope
from coatcheck.settings.model import Settings
journal = base64.b64decode(sys.argv[1])
print(asyncio.run(Settings.load().chain().decode(journal, Scope("t", "r"))) == b"attic " * 1000)
"""
ASK = """
import sys
from coatcheck import ConfigError
from coatcheck.settings.registry import make_codec, open_store
for ask in (lambda: open_store(sys.argv[1]), lambda: open_store("s3://bucket"),
            lambda: make_codec("attic-zlib"), lambda: make_codec("zstd"), lambda: open_store("file:///folder")):
    try:
        print(type(ask()).__name__)
    except ConfigError as error:
        print(error.what)
"""


def install(name: str, folder: Path) -> Path:
    """Build and install one of the distributions here into a folder of its own, without the network."""
    source, target = folder / f"{name}-source", folder / name
    shutil.copytree(HERE / name, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    how = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run([*pip, *how, str(source)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def attic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("attic", tmp_path_factory.mktemp("attic"))


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("rival", tmp_path_factory.mktemp("rival"))


def run(program: str, *arguments: str, path: list[Path], folder: Path) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, path))},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_settings_find_the_store_and_the_codec(attic: Path, tmp_path: Path) -> None:
    (tmp_path / "coatcheck.toml").write_text(SETTINGS.format(folder=tmp_path))
    chain, journal = run(KEEP, path=[attic], folder=tmp_path)
    assert chain.startswith("Chain(AtticZlib(level=9), Offload(<coatcheck_attic.store.AtticStore object")
    assert (tmp_path / "attic.db").exists()
    assert run(FETCH, journal, path=[attic], folder=tmp_path) == ["True"]


def test_a_name_that_two_distributions_claim_is_refused(attic: Path, rival: Path, tmp_path: Path) -> None:
    url = URL.format(folder=tmp_path)
    for path in ([attic, rival], [rival, attic]):
        store, s3, codec, zstd, file = run(ASK, url, path=path, folder=tmp_path)
        both = "is registered by coatcheck-attic 1.2.3 and coatcheck-rival 6.6.6"
        assert store == f"the store 'attic' {both}"
        assert codec == f"the codec 'attic-zlib' {both}"
        assert s3.startswith("the store 's3' is registered by coatcheck ")
        assert s3.endswith(" and coatcheck-rival 6.6.6")
        assert zstd.startswith("the codec 'zstd' is registered by coatcheck ")
        assert file == "FileStore"
