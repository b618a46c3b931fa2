"""Ways to prove to Vault who asks."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from coatcheck.errors import ConfigError

_VARIABLE: Final = "VAULT_TOKEN"
_HELPER: Final = "~/.vault-token"
"""The file in which ``vault login`` and ``bao login`` leave a token."""
_ACCOUNT_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_PROOF: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""A token, an id or a JWT: it goes into a header or a body of JSON, and has no spaces."""


@dataclass(frozen=True, slots=True)
class VaultAuth:
    """A way to get a token of Vault or OpenBao, for :class:`VaultTransit`. Its class methods are the ways that there are.

    Files are read again whenever a new token is needed, so they may be replaced at any time.
    """

    method: str
    """The name of the way, for errors."""
    login: str
    """Path of the request that gives the token; empty if :attr:`proof` already has it."""
    proof: Callable[[], Mapping[str, str]] = field(repr=False)
    """Returns the body of that request, or the token. Reads files. Raises ``ConfigError`` if there is nothing to read."""

    @classmethod
    def from_env(cls) -> "VaultAuth":
        """Use the token in ``VAULT_TOKEN``, else the one that ``vault login`` or ``bao login`` left in ``~/.vault-token``."""

        def proof() -> Mapping[str, str]:
            if token := os.environ.get(_VARIABLE):
                return {"token": _checked(token, _VARIABLE)}
            file = Path(_HELPER).expanduser()
            if not file.exists():
                raise ConfigError(
                    f"there is no token of Vault: neither in {_VARIABLE} nor in {_HELPER}",
                    "Set it, log in, or choose another way: token_file, role_id, or kubernetes_role.",
                )
            return {"token": _from_file(file)}

        return cls("token", "", proof)

    @classmethod
    def token(cls, token: str) -> "VaultAuth":
        """Use this token. It is renewed while it is used; once it has expired, there is no way to another."""
        return cls("token", "", lambda: {"token": _checked(token, "the token of Vault")})

    @classmethod
    def token_file(cls, file: str | Path) -> "VaultAuth":
        """Use the token in a file that somebody else renews, such as the sink of a Vault Agent."""
        return cls("token", "", lambda: {"token": _from_file(Path(file))})

    @classmethod
    def app_role(
        cls,
        role_id: str,
        secret_id: str | None = None,
        *,
        secret_id_file: str | Path | None = None,
        mount: str = "approle",
    ) -> "VaultAuth":
        """Log in by AppRole.

        Args:
            role_id: The RoleID.
            secret_id: The SecretID; None if the role needs none, or if it is in a file.
            secret_id_file: The file that contains the SecretID.
            mount: The path of the auth method.
        """

        def proof() -> Mapping[str, str]:
            found = {"role_id": _checked(role_id, "the RoleID of Vault")}
            if secret_id_file is not None:
                found["secret_id"] = _from_file(Path(secret_id_file))
            elif secret_id is not None:
                found["secret_id"] = _checked(secret_id, "the SecretID of Vault")
            return found

        return cls("AppRole", _login(mount), proof)

    @classmethod
    def kubernetes(
        cls, role: str, *, token_file: str | Path = _ACCOUNT_TOKEN, mount: str = "kubernetes"
    ) -> "VaultAuth":
        """Log in with the token of the pod's service account.

        Args:
            role: The role of the auth method.
            token_file: The file that contains the service account's token.
            mount: The path of the auth method.
        """
        return cls("Kubernetes", _login(mount), lambda: {"role": role, "jwt": _from_file(Path(token_file))})


def is_path(text: str) -> bool:
    """Return True if ``text`` can be a path of Vault's: a mount or a namespace, which may have slashes inside."""
    return all(
        re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", part) and set(part) != {"."} for part in text.split("/")
    )


def _login(mount: str) -> str:
    if not is_path(mount):
        raise ConfigError(
            f"{mount[:80]!r} is not the path of an auth method of Vault",
            "Write it as in `vault auth list`, without auth/.",
        )
    return f"auth/{mount}/login"


def _from_file(file: Path) -> str:
    try:
        content = file.expanduser().read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError(
            f"{file}, from which Vault's credentials come, cannot be read: {error.strerror}",
            "Correct the path, or mount it.",
        ) from None
    except UnicodeDecodeError:
        content = ""
    return _checked(content.strip(), str(file))


def _checked(proof: str, source: str) -> str:
    if not _PROOF.fullmatch(proof):
        raise ConfigError(
            f"{source} does not contain a credential of Vault", "It is one word of printable ASCII."
        )
    return proof
