"""Each extra of the wheel alone, in an environment of its own: ``make test-extras``.

What belongs to the extra works there, on the real server; what belongs to another one says which to install. The
packages come at the versions of the lock file. Not among the tests of ``make test``, since it takes a registry.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest

from tests.engines.aws_kms import AwsKmsServer, aws_kms
from tests.engines.gcs import GCSServer
from tests.engines.inngest import InngestServer, inngest_server
from tests.engines.openbao import OpenBao
from tests.engines.postgres import PostgresServer
from tests.engines.process import free_port, running
from tests.engines.restate import RestateServer, restate_server
from tests.engines.temporal import TemporalServer
from tests.environments import LOCK, ROOT, Environment, project, wheel_to_try
from tests.stores.s3_fixtures import Bucket

__all__ = ["aws_kms", "inngest_server", "restate_server"]

EXTRAS: dict[str, list[str]] = project()["optional-dependencies"]
USES = Path(__file__).parent / "uses"
_SECONDS = 400
"""For one program. A shared machine may be ten times slower than an idle one."""
PROBES = {
    "temporal": "import coatcheck.integrations.temporal",
    "s3": "coatcheck.S3Store('bucket')",
    "kms": "coatcheck.AwsKms('arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab')",
    "gcs": "coatcheck.GCSStore('bucket')",
    "serve": "import coatcheck.server.app",
    "inngest": "import coatcheck.integrations.inngest",
    "langgraph": "import coatcheck.integrations.langgraph",
    "postgres": "coatcheck.PostgresStore('postgresql://127.0.0.1/payloads')",
    "restate": "import coatcheck.integrations.restate",
    "durabletask": "import coatcheck.integrations.durabletask",
    "dbos": "import coatcheck.integrations.dbos",
    "aws-durable": "import coatcheck.integrations.aws_durable",
    "testing": "from coatcheck.testing import StoreSuite",
    "vault": "coatcheck.VaultTransit('vault://vault.example.com/transit/payloads')",
}
"""The door to what each extra brings."""
TRY = """
import json, sys
import coatcheck
came = {}
for name, probe in json.loads(sys.argv[1]).items():
    try:
        exec(probe)
    except Exception as error:
        came[name] = [type(error).__name__, str(error)]
    else:
        came[name] = None
print(json.dumps(came))
"""
COMMANDS = {
    "demo": (["demo"], "demo"),
    "doctor": (["doctor", "any"], "temporal"),
    "gcs": (["store", "check", "gs://bucket"], "gcs"),
    "postgres": (["store", "check", "postgresql://127.0.0.1/payloads"], "postgres"),
    "s3": (["store", "check", "s3://bucket"], "s3"),
    "serve": (["serve"], "serve"),
}
"""Commands that need more than the extra ``cli``, and the extra that each of them has to name."""


def packages_of(extra: str) -> set[str]:
    """The names of the packages that an extra brings."""
    found: set[str] = set()
    for text in EXTRAS[extra]:
        name, _, version = text.partition(">=")
        if name.startswith("coatcheck["):
            found.update(*map(packages_of, name[len("coatcheck[") : -1].split(",")))
        else:
            assert version, text
            found.add(name.partition("[")[0])
    return found


def is_there(extra: str, installed: str | None) -> bool:
    """Whether ``installed`` brings all that ``extra`` needs."""
    return installed is not None and packages_of(extra) <= packages_of(installed)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_to_try(tmp_path_factory.mktemp("wheel"))


class Installed:
    """The wheel with one extra, and what is done with it."""

    def __init__(self, wheel: Path, extra: str | None, folder: Path, *also: str) -> None:
        self.extra = extra
        self.folder = folder
        self._environment = Environment(folder / "venv")
        what = f"coatcheck[{extra}] @ {wheel.as_uri()}" if extra else wheel
        self._environment.install("--constraint", LOCK, what)
        self._environment.check()
        # What belongs to nobody is tried before anything else is there.
        tried = self.run("python", "-c", TRY, json.dumps(PROBES)).stdout
        self.came: dict[str, list[str] | None] = json.loads(tried)
        if also:
            self._environment.install("--constraint", LOCK, *also)

    def run(self, program: str, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs; fail unless it ends with ``code``."""
        done = subprocess.run(
            [self._environment.bin / program, *arguments],
            cwd=self.folder,
            env=self._variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == code, done.stderr or done.stdout
        return done

    def use(self, name: str, *arguments: str | Path) -> None:
        """Run one of the programs in ``uses``."""
        self.run("python", USES / f"{name}.py", *arguments)

    @contextmanager
    def serving(self, port: int, program: Path, *arguments: str) -> Iterator[None]:
        """Run a program that serves at a port, until the block ends."""
        command = [str(self._environment.python), str(program), *arguments]
        log = self.folder / "served.log"
        with running(command, log, up=lambda: listens(port), stop=SIGKILL, environment=self._variables()):
            yield

    def _variables(self) -> dict[str, str]:
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        return {**self._environment.variables(), **own, "INNGEST_DEV": "1"}


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def check_probes(installed: Installed) -> None:
    """What is there has no complaint; what is not names its extra."""
    for name, came in installed.came.items():
        if is_there(name, installed.extra):
            assert came is None, (name, came)
        else:
            assert came is not None, f"{name} works with {installed.extra} alone"
            kind, message = came
            assert kind in {"ConfigError", "ModuleNotFoundError"}, came
            assert f"pip install 'coatcheck[{name}]'" in message, came
    assert set(installed.came) == set(EXTRAS) - {"cli", "demo"}, "an extra has no probe"


def check_commands(installed: Installed) -> None:
    """Without the extra ``cli`` every command names it; with it, each names what it needs."""
    if not is_there("cli", installed.extra):
        assert "pip install 'coatcheck[cli]'" in installed.run("coatcheck", "--version", code=1).stderr
        return
    assert installed.run("coatcheck", "--version").stdout == f"coatcheck {project_version()}\n"
    environment_store = installed.folder / "payloads"
    installed.run("coatcheck", "store", "check", f"file://{environment_store}")
    for command, extra in COMMANDS.values():
        if not is_there(extra, installed.extra):
            done = installed.run("coatcheck", *command, code=1)
            assert f"pip install 'coatcheck[{extra}]'" in done.stderr + done.stdout, done


def project_version() -> str:
    """The one source of the version, read as text."""
    scope: dict[str, str] = {}
    exec((ROOT / "src" / "coatcheck" / "_version.py").read_text(encoding="utf-8"), scope)  # noqa: S102
    return scope["__version__"]


def installed_alone(wheel: Path, extra: str | None, folder: Path, *also: str) -> Installed:
    installed = Installed(wheel, extra, folder, *also)
    check_probes(installed)
    check_commands(installed)
    return installed


def test_none(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, None, tmp_path).use("without_any", tmp_path / "payloads")


def test_cli(wheel: Path, tmp_path: Path) -> None:
    installed = installed_alone(wheel, "cli", tmp_path)
    assert len(installed.run("coatcheck", "keys", "new").stdout.strip()) > 40


def test_temporal(wheel: Path, tmp_path: Path, temporal_server: TemporalServer) -> None:
    installed_alone(wheel, "temporal", tmp_path).use("with_temporal", temporal_server.address)


def test_s3(wheel: Path, tmp_path: Path, bucket: Bucket) -> None:
    server = bucket.server
    installed = installed_alone(wheel, "s3", tmp_path)
    installed.use("with_s3", server.endpoint, bucket.name, server.access_key, server.secret_key)


def test_kms(wheel: Path, tmp_path: Path, aws_kms: AwsKmsServer) -> None:
    installed_alone(wheel, "kms", tmp_path).use("with_kms", aws_kms.endpoint, aws_kms.new_key())


def test_gcs(wheel: Path, tmp_path: Path, gcs_server: GCSServer) -> None:
    made = httpx.post(f"{gcs_server.endpoint}/storage/v1/b?project=extras", json={"name": "of-the-extra"})
    made.raise_for_status()
    installed_alone(wheel, "gcs", tmp_path).use("with_gcs", gcs_server.endpoint, "of-the-extra")


def test_vault(wheel: Path, tmp_path: Path, openbao: OpenBao) -> None:
    name, token = openbao.new_key(), openbao.token()
    installed_alone(wheel, "vault", tmp_path).use("with_vault", openbao.endpoint, name, token)


def test_postgres(wheel: Path, tmp_path: Path, postgres_server: PostgresServer) -> None:
    installed_alone(wheel, "postgres", tmp_path).use("with_postgres", postgres_server.dsn())


def test_serve(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, "serve", tmp_path).use("with_serve")


def test_testing(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, "testing", tmp_path).use("with_testing", tmp_path)


async def test_inngest(wheel: Path, tmp_path: Path, inngest_server: InngestServer) -> None:
    installed = installed_alone(wheel, "inngest", tmp_path, "fastapi", "uvicorn")
    port = free_port()
    with installed.serving(port, USES / "with_inngest.py", inngest_server.url, str(port)):
        async with httpx.AsyncClient(timeout=30) as http:
            (await http.put(f"http://127.0.0.1:{port}/api/inngest")).raise_for_status()
            event = {"name": "extra/asked", "data": {}}
            [sent] = (await http.post(f"{inngest_server.url}/e/key", json=event)).json()["ids"]
        [run] = await inngest_server.runs_of(sent)
    assert run["status"] == "Completed", run
    assert len(json.dumps(run["output"])) < 1_000


async def test_restate(wheel: Path, tmp_path: Path, restate_server: RestateServer) -> None:
    installed = installed_alone(wheel, "restate", tmp_path, "hypercorn")
    example = ROOT / "examples" / "restate_agent.py"
    port = free_port()
    with installed.serving(port, example, "serve", str(port)):
        where = (restate_server.ingress, restate_server.admin, f"http://127.0.0.1:{port}")
        assert "14 messages" in installed.run("python", example, "talk", *where).stdout


def test_langgraph(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, "langgraph", tmp_path).use("with_langgraph")


def test_dbos(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, "dbos", tmp_path).use("with_dbos")


def test_durabletask(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, "durabletask", tmp_path).use("with_durabletask")


def test_aws_durable(wheel: Path, tmp_path: Path) -> None:
    installed_alone(wheel, "aws-durable", tmp_path).use("with_aws_durable")


def test_demo(wheel: Path, tmp_path: Path) -> None:
    installed = installed_alone(wheel, "demo", tmp_path)
    figures = tmp_path / "figures.json"
    installed.run("coatcheck", "demo", "--turns", "4", "--json", figures, "--plot", tmp_path / "chart.png")
    assert json.loads(figures.read_text())
    assert (tmp_path / "chart.png").stat().st_size > 1_000


def test_every_extra_is_tried() -> None:
    assert {name.removeprefix("test_") for name in globals() if name.startswith("test_")} >= {
        extra.replace("-", "_") for extra in EXTRAS
    }
