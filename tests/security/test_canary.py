"""A marked payload is nowhere but in the payload: one process, and all that it tells and leaves behind."""

import json
import os
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chains import KEY, OTHER_KEY
from tests.security.canary_process import PAYLOAD_MARK, RUN_MARK, TENANT_MARK

ROOT = Path(__file__).parent.parent.parent


def disguises(secret: bytes) -> Iterator[bytes]:
    """What ``secret`` looks like in the usual clothes, wherever in a longer text it begins."""
    yield secret
    yield secret.hex().encode()
    yield "".join(map(chr, secret)).encode("utf-16-le")
    yield repr(secret)[2:-1].encode()
    for encode in (b64encode, urlsafe_b64encode):
        for lead in range(3):
            # The first and the last characters depend on what is next to them.
            yield encode(bytes(lead) + secret)[4:-4]


def found_in(data: bytes, secrets: list[bytes]) -> list[bytes]:
    return [secret for secret in secrets if any(form in data for form in disguises(secret))]


SECRETS = [PAYLOAD_MARK.encode(), KEY.secret, OTHER_KEY.secret]
NAMES = [TENANT_MARK.encode(), RUN_MARK.encode()]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[str]]:
    """The folder in which the process kept everything, what it told, and the files that it wrote."""
    folder = tmp_path_factory.mktemp("canary")
    home = folder / "home"
    (folder / "tmp").mkdir()
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.canary_process", str(folder)],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder, done.stdout + done.stderr, json.loads(done.stdout.rsplit(b"\n", 1)[1])


def test_the_search_finds_what_is_there() -> None:
    for dressed in disguises(PAYLOAD_MARK.encode()):
        assert found_in(b"..." + dressed + b"...", SECRETS) == [PAYLOAD_MARK.encode()]


def test_logs_errors_tracebacks_metrics_and_spans(told: tuple[Path, bytes, list[str]]) -> None:
    _, text, _ = told
    assert text.count(b"Traceback") >= 18
    assert b"IntegrityError" in text
    assert b"PayloadNotFound" in text
    assert b"coatcheck.store.duration" in text
    assert found_in(text, SECRETS + NAMES) == []


def test_keys_names_and_bytes_of_every_file(told: tuple[Path, bytes, list[str]]) -> None:
    folder, _, _ = told
    files = [path for path in folder.rglob("*") if path.is_file()]
    places = {path.relative_to(folder).parts[0] for path in files}
    assert {"store", "disk-cache"} <= places
    for path in files:
        assert found_in(str(path).encode(), SECRETS + NAMES) == []
        assert found_in(path.read_bytes(), SECRETS + NAMES) == [], path


def test_no_file_is_written_anywhere_else(told: tuple[Path, bytes, list[str]]) -> None:
    folder, _, written = told
    assert any("tmp~" in path for path in written)
    assert [
        path for path in written if not path.startswith((str(folder / "store"), str(folder / "disk-cache")))
    ] == []
