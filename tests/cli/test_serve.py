"""``coatcheck serve`` as it is started: from settings, on an address, until it is told to stop."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from coatcheck.settings.model import Settings
from coatcheck.settings.serve import JwtSettings, ServeSettings
from tests.chains import KEY, OTHER_KEY
from tests.server.issuer import issuing, token
from tests.server.process import SECONDS, SERVE, started, variables
from tests.server.serving import JSON, Serving, plain, sealed, to_json


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return variables(tmp_path)


def refusal(environment: Mapping[str, str], folder: Path, *arguments: str) -> str:
    """What is said where nothing is served."""
    done = subprocess.run(
        [*SERVE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("coatcheck serve: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    data = os.urandom(10_000)
    chain = Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(FileStore(tmp_path / "payloads")), cache=PayloadCache(0)
    )
    payloads = await sealed(chain, data)
    with started(environment, tmp_path) as running:
        assert running.server.url.startswith("http://127.0.0.1:")
        assert running.server.get("/health").status_code == 200
        assert running.server.decode(payloads, "/decode?CANARY=1") == [plain(data)]
        code, printed, log = running.stop(number)
    assert (code, printed) == (0, "")
    (line,) = log.splitlines()
    assert "status=200" in line
    assert "CANARY" not in line


def test_settings_come_from_the_file_of_the_chain(environment: dict[str, str], tmp_path: Path) -> None:
    with issuing() as issuer:
        (tmp_path / "coatcheck.toml").write_text(f"""
            [serve]
            origins = ["https://temporal.example.com"]
            encode = true
            [serve.jwt]
            jwks_url = "{issuer.url}"
            issuer = "https://issuer.example.com/"
            audience = "somebody else"
        """)
        environment |= {"COATCHECK_SERVE__JWT__AUDIENCE": "coatcheck", "COATCHECK_SERVE__ENCODE": "false"}
        with started(environment, tmp_path, "--host", "0.0.0.0") as running:  # noqa: S104 - tokens are asked for
            assert any("tokens of https://issuer.example.com/ for coatcheck" in line for line in running.said)
            url = running.server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - see above
            server = Serving(url)
            body = to_json([plain(b"1")])
            good = {**JSON, "Authorization": f"Bearer {token()}"}
            assert server.post("/tenant-a/decode", body, JSON).status_code == 401
            assert server.post("/tenant-a/decode", body, good).status_code == 200
            assert server.post("/tenant-a/encode", body, good).status_code == 403
            page = {**good, "Origin": "https://temporal.example.com"}
            assert server.post("/tenant-a/decode", body, page).status_code == 200
            _, _, log = running.stop(signal.SIGTERM)
    assert token().partition(".")[0] not in log
    assert "subject='ada'" in log


def test_the_start_says_where_payloads_are_what_opens_them_and_for_whom(
    environment: dict[str, str], tmp_path: Path
) -> None:
    keys = {"COATCHECK_KEYS": f"{KEY.to_text()},{OTHER_KEY.to_text()}"}
    with started(environment | keys, tmp_path) as running:
        said = "\n".join(running.said)
        assert all(line.startswith("coatcheck serve: ") for line in running.said)
    assert f"{tmp_path}/payloads" in said
    assert KEY.id.hex() in said
    assert OTHER_KEY.id.hex() in said
    assert "origins: http://localhost:8233, http://127.0.0.1:8233" in said
    assert "who may ask: every program on this machine, without a token" in said
    assert "encode: off" in said
    assert KEY.to_text() not in said
    others = {
        "COATCHECK_ENCRYPT": "false",
        "COATCHECK_SERVE__ORIGINS": "https://temporal.example.com",
        "COATCHECK_SERVE__ENCODE": "true",
        "COATCHECK_OFFLOAD__READ_ALSO": '{"old": "postgresql://somebody:SECRET@127.0.0.1/old"}',
    }
    del environment["COATCHECK_KEYS"]
    everywhere = ("--host", "0.0.0.0", "--insecure-no-auth")  # noqa: S104 - it says so
    with started(environment | others, tmp_path, *everywhere) as running:
        said = "\n".join(running.said)
    assert "old = PostgresStore" in said
    assert "SECRET" not in said
    assert "keys: none" in said
    assert "origins: https://temporal.example.com" in said
    assert "who may ask: everybody who can reach it, without a token" in said
    assert "encode: on" in said


def test_without_tokens_it_is_for_this_machine_alone(environment: dict[str, str], tmp_path: Path) -> None:
    everywhere = ("--host", "0.0.0.0")  # noqa: S104 - this is what is refused
    for host in ("0.0.0.0", "::", socket.gethostname()):  # noqa: S104 - this is what is refused
        if not _is_mine_alone(host):
            assert "no tokens are required" in refusal(environment, tmp_path, "--port", "0", "--host", host)
    with started(environment, tmp_path, *everywhere, "--insecure-no-auth") as running:
        assert httpx.get(running.server.url.replace("0.0.0.0", "127.0.0.1") + "/health").status_code == 200  # noqa: S104 - see above
    with started(environment, tmp_path, "--host", "localhost") as running:
        assert running.server.get("/health").status_code == 200


def _is_mine_alone(host: str) -> bool:
    try:
        return str(socket.getaddrinfo(host, 0)[0][4][0]).startswith("127.")
    except OSError:
        return False


def test_an_address_that_cannot_be_had(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "cannot listen on 127.0.0.1:" in refusal(environment, tmp_path, "--port", port)
    assert "cannot listen on" in refusal(environment, tmp_path, "--host", "no-such-host.invalid")
    assert "0 to 65535" in refusal(environment, tmp_path, "--port", "65536")


def test_settings_that_are_wrong(environment: dict[str, str], tmp_path: Path) -> None:
    wrong = {
        "COATCHECK_SERVE__ORIGINS": "https://a.example,*",
        "COATCHECK_SERVE__CONCURENCY": "5",
        "COATCHECK_SERVE__MAX_REQUEST": "0",
        "COATCHECK_SERVE__JWT__JWKS_URL": "http://issuer.example.com/keys",
        "COATCHECK_SERVE__JWT__ISSUER": "x",
    }
    said = refusal(environment | wrong, tmp_path)
    for line in (
        "serve.concurency: there is no such setting; did you mean concurrency?",
        "serve.max_request: must be greater than 0",
        "serve.jwt.jwks_url: must be an https URL",
        "serve.jwt.audience: ",
    ):
        assert line in said
    del environment["COATCHECK_KEYS"]
    assert "COATCHECK_KEYS" in refusal(environment, tmp_path)


def test_lists_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_SERVE__ORIGINS", "https://a.example, http://localhost:8233")
    assert Settings.load().serve.origins == ["https://a.example", "http://localhost:8233"]


def test_without_the_extra_one_line_names_it() -> None:
    program = (
        "import sys; sys.modules['starlette'] = None; sys.argv[1:] = ['serve']; "
        "from coatcheck.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 1
    assert done.stderr.startswith("coatcheck serve: starlette")
    assert done.stderr.endswith(" is not installed: pip install 'coatcheck[serve]'\n")


def test_the_page_says_what_holds_where_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "codec-server.md").read_text(encoding="utf-8")
    (tmp_path / "coatcheck.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    monkeypatch.chdir(tmp_path)
    loaded, plain_settings = Settings.load().serve, ServeSettings()
    assert loaded.model_fields_set == set(ServeSettings.model_fields)
    assert loaded.model_dump(exclude={"jwt"}) == plain_settings.model_dump(exclude={"jwt"})
    assert loaded.jwt is not None
    assert loaded.jwt.model_fields_set == set(JwtSettings.model_fields)
    assert loaded.jwt.permissions_claim == JwtSettings.model_fields["permissions_claim"].default
