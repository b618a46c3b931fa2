"""``coatcheck serve`` as it is started: from settings, on an address, until it is told to stop."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from coatcheck.server.settings import JwtSettings, ServeSettings
from coatcheck.settings import Settings
from tests.chains import KEY
from tests.server.issuer import issuing, token
from tests.server.serving import JSON, CodecServer, plain, sealed, to_json

_SERVE = [sys.executable, "-c", "from coatcheck.cli import main; main()", "serve"]
_SECONDS = 60


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a chain that encrypts, with a store of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    chain = {"COATCHECK_KEYS": KEY.to_text(), "COATCHECK_OFFLOAD__STORE": f"file://{tmp_path}/payloads"}
    return {**inherited, **chain}


def refusal(environment: Mapping[str, str], folder: Path, *arguments: str) -> str:
    """What is said where nothing is served."""
    done = subprocess.run(
        [*_SERVE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
        timeout=_SECONDS,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("coatcheck serve: ")
    assert "Traceback" not in done.stderr
    return done.stderr


class Started:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.server = CodecServer(url)

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit code, what else it printed, and its log."""
        self.process.send_signal(number)
        printed, log = self.process.communicate(timeout=_SECONDS)
        return self.process.returncode, printed, log


@contextmanager
def started(environment: Mapping[str, str], folder: Path, *arguments: str) -> Iterator[Started]:
    pipe = subprocess.PIPE
    command = [*_SERVE, "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            said, _, url = process.stdout.readline().strip().rpartition(" ")
            assert said == "coatcheck serve: listening on"
            yield Started(process, url)
        finally:
            process.kill()


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
            url = running.server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - see above
            server = CodecServer(url)
            body = to_json([plain(b"1")])
            good = {**JSON, "Authorization": f"Bearer {token()}"}
            assert server.post("/tenant-a/decode", body, JSON).status_code == 401
            assert server.post("/tenant-a/decode", body, good).status_code == 200
            assert server.post("/tenant-a/encode", body, good).status_code == 404
            page = {**good, "Origin": "https://temporal.example.com"}
            assert server.post("/tenant-a/decode", body, page).status_code == 200
            _, _, log = running.stop(signal.SIGTERM)
    assert token().partition(".")[0] not in log
    assert "subject='ada'" in log


def test_without_tokens_it_is_for_this_machine_alone(environment: dict[str, str], tmp_path: Path) -> None:
    everywhere = ("--host", "0.0.0.0")  # noqa: S104 - this is what is refused
    for host in ("0.0.0.0", "::", socket.gethostname()):  # noqa: S104 - this is what is refused
        if not _is_mine_alone(host):
            assert "no tokens are asked for" in refusal(environment, tmp_path, "--port", "0", "--host", host)
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
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=_SECONDS
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
    examples = {"origins", "jwt"}
    assert loaded.model_dump(exclude=examples) == plain_settings.model_dump(exclude=examples)
    assert loaded.jwt is not None
    assert loaded.jwt.model_fields_set == set(JwtSettings.model_fields)
    assert loaded.jwt.permissions_claim == JwtSettings.model_fields["permissions_claim"].default
