"""A key of Vault's transit engine as one line of the settings: its name, and the way to it, in a URL."""

from collections.abc import Mapping

from coatcheck.errors import ConfigError
from coatcheck.keys.vault import VaultTransit
from coatcheck.keys.vault_auth import VaultAuth
from coatcheck.stores.urls import read_endpoint, read_options

_WAYS = ("token_file", "role_id", "kubernetes_role")


def open_vault(url: str, ca_bundle: str | None = None) -> VaultTransit:
    """Open ``vault://HOST/MOUNT/KEY``. The name is what is left without the options, but for ``namespace``.

    Secrets have no option: a token comes from ``VAULT_TOKEN`` or a file, a SecretID from a file.

    Args:
        url: The URL.
        ca_bundle: The issuers to trust, unless the URL has its own ``ca_bundle``.

    Raises:
        ConfigError: The URL is malformed, or aiohttp is not installed.
    """
    address, _, query = url.partition("?")
    texts = (
        "namespace",
        "token_file",
        "role_id",
        "secret_id_file",
        "kubernetes_role",
        "auth_mount",
        "ca_bundle",
    )
    options = read_options(query, {**dict.fromkeys(texts, _text), "endpoint_url": read_endpoint}, "Vault's")
    namespace = options.get("namespace")
    return VaultTransit(
        f"{address}?namespace={namespace}" if namespace else address,
        _auth(options),
        endpoint_url=options.get("endpoint_url"),
        ca_bundle=options.get("ca_bundle", ca_bundle),
    )


def _auth(options: Mapping[str, str]) -> VaultAuth:
    ways = [name for name in _WAYS if name in options]
    if len(ways) > 1:
        raise ConfigError(f"Vault's URL has more than one way to a token: {', '.join(ways)}", "Keep one.")
    if "secret_id_file" in options and "role_id" not in options:
        raise ConfigError("Vault's URL has secret_id_file without role_id", "Add role_id.")
    if "auth_mount" in options and not {"role_id", "kubernetes_role"} & options.keys():
        raise ConfigError("Vault's URL has auth_mount without a login", "Add role_id or kubernetes_role.")
    mount = {"mount": options["auth_mount"]} if "auth_mount" in options else {}
    if "role_id" in options:
        return VaultAuth.app_role(options["role_id"], secret_id_file=options.get("secret_id_file"), **mount)
    if "kubernetes_role" in options:
        return VaultAuth.kubernetes(options["kubernetes_role"], **mount)
    return VaultAuth.token_file(options["token_file"]) if ways else VaultAuth.from_env()


def _text(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text
