"""The server does what its OpenAPI description says, and nothing else: schemathesis tries."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coatcheck.server.openapi import describe
from coatcheck.settings.serve import ServeSettings
from tests.chains import encrypted_chain
from tests.server.issuer import issuing, token
from tests.server.serving import Serving, serving

# What is made up is nothing that could be downloaded; /download says 400 to it, as it should.
CONFIG = """
[[operations]]
include-path-regex = "download$"
[operations.checks]
positive_data_acceptance.enabled = false
"""


@pytest.fixture
def open_server() -> Iterator[Serving]:
    with serving(encrypted_chain(), encode=True) as server:
        yield server


@pytest.fixture
def guarded_server() -> Iterator[Serving]:
    with issuing() as issuer, serving(encrypted_chain(), encode=True, jwt=issuer.settings()) as server:
        yield server


def try_out(server: Serving, folder: Path, *more: str) -> None:
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    arguments = [
        "run",
        f"{server.url}/openapi.json",
        "--max-examples",
        "10",
        "--seed",
        "7",
    ]
    done = subprocess.run(
        [*program, *arguments, "--no-color", "--generation-database", "none", *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "Tested: 8" in done.stdout


def test_without_tokens(open_server: Serving, tmp_path: Path) -> None:
    try_out(open_server, tmp_path)


def test_with_tokens(guarded_server: Serving, tmp_path: Path) -> None:
    admin = token(permissions=["temporal-system:admin"])
    try_out(guarded_server, tmp_path, "--header", f"Authorization: Bearer {admin}")


def test_what_is_off_is_not_described() -> None:
    assert "/encode" not in describe(ServeSettings())["paths"]
    assert "/encode" in describe(ServeSettings(encode=True))["paths"]
