"""The transit engine of HashiCorp Vault and OpenBao. Needs ``pip install 'coatcheck[vault]'``."""

import base64
import binascii
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from coatcheck.contracts.keys import KEY_LENGTH
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    IntegrityError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
)
from coatcheck.keys.kms import KeyService, context_bytes
from coatcheck.keys.vault_auth import VaultAuth, is_path

if TYPE_CHECKING:
    from coatcheck.runtime.http import Answer

_NAME: Final = re.compile(
    r"vault://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?/(?P<mount>[^?#]+)/(?P<key>[^/?#]+)"
    r"(\?namespace=(?P<namespace>[^?#&=]+))?"
)
_PORT: Final = 8200
_WRAPPED: Final = re.compile(rb"vault:v(?P<version>[1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}")


class VaultTransit(KeyService):
    """A derived key of the transit engine of HashiCorp Vault or OpenBao (``derived=true``).

    The context is what Vault derives the key from that encrypts, so it is bound. A key that is not derived would ignore
    it, and is refused. The token needs ``read`` on ``MOUNT/keys/KEY`` and ``update`` on ``MOUNT/decrypt/KEY``, on
    ``MOUNT/datakey/plaintext/KEY`` to seal for new tenants, and on ``MOUNT/encrypt/KEY`` for ``coatcheck rekey``.

    Args:
        name: ``vault://HOST[:PORT]/MOUNT/KEY``, with ``?namespace=TEAM`` unless the engine is in the root namespace. The
            port is 8200 unless given. Stored with what the key wraps: it must stay the same.
        auth: The way to a token. Defaults to :meth:`VaultAuth.from_env`.
        endpoint_url: Another address of the service, such as an agent's; ``http://`` sends tokens in the clear. Defaults
            to https and the host and port in ``name``.
        ca_bundle: A PEM file of the issuers to trust. Defaults to the system's.

    Raises:
        ConfigError: ``name`` is not a key's name, or aiohttp is not installed.
    """

    kind: ClassVar[str] = "Vault"

    def __init__(
        self,
        name: str,
        auth: VaultAuth | None = None,
        *,
        endpoint_url: str | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        try:
            from coatcheck.keys.vault_client import VaultClient  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise ConfigError(
                f"{missing.name} is not installed", "Run: pip install 'coatcheck[vault]'"
            ) from missing
        found = _NAME.fullmatch(name)
        namespace = "" if found is None else found["namespace"] or ""
        paths = () if found is None else (found["mount"], found["key"], namespace or "root")
        if found is None or not all(map(is_path, paths)):
            raise ConfigError(
                f"{name[:200]!r} is not the name of a key of Vault's transit engine",
                "Write vault://HOST/MOUNT/KEY, or vault://HOST/MOUNT/KEY?namespace=NAMESPACE.",
            )
        self.name = name
        self._mount, self._key = found["mount"], found["key"]
        endpoint = (endpoint_url or f"https://{found['host']}:{found['port'] or _PORT}").rstrip("/")
        self._client = VaultClient(self.kind, endpoint, namespace, auth or VaultAuth.from_env(), ca_bundle)

    def __repr__(self) -> str:
        return f"VaultTransit({self.name!r})"

    async def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """See :meth:`KeyService.generate`: the random bytes are Vault's."""
        await self._check_key()
        answer = await self._ask("datakey/plaintext", context, bits=8 * KEY_LENGTH)
        secret = self._decoded(answer)
        if len(secret) != KEY_LENGTH:
            raise self._client.unreadable()
        return secret, self._wrapped(answer)

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """See :meth:`KeyService.wrap`."""
        # Before each: to a token that may also create keys, Vault would answer with a new key under a misspelt name.
        await self._check_key()
        return self._wrapped(await self._ask("encrypt", context, plaintext=base64.b64encode(secret).decode()))

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See :meth:`KeyService.unwrap`."""
        found = _WRAPPED.fullmatch(wrapped)
        if found is None:
            raise _damaged()
        body = {"ciphertext": wrapped.decode("ascii"), "context": _encoded(context)}
        answer = await self._client.ask("POST", self._path("decrypt"), body)
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise await self._unopened(int(found["version"]))
        if answer.status != HTTPStatus.OK:
            raise self._typed(answer)
        return self._decoded(self._client.section(answer, "data"))

    async def close(self) -> None:
        """See :meth:`KeyService.close`."""
        await self._client.close()

    async def _ask(self, verb: str, context: Mapping[str, str], **body: object) -> dict[str, Any]:
        answer = await self._client.ask("POST", self._path(verb), {**body, "context": _encoded(context)})
        if answer.status != HTTPStatus.OK:
            raise self._typed(answer)
        return self._client.section(answer, "data")

    async def _facts(self) -> dict[str, Any] | None:
        """Return what Vault says of the key; None if it has none of this name."""
        answer = await self._client.ask("GET", self._path("keys"))
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise self._typed(answer)
        return self._client.section(answer, "data")

    async def _check_key(self) -> None:
        """Raise unless the key is there, can be used, and binds the context."""
        facts = await self._facts()
        if facts is None:
            raise KeyUnavailable(
                f"{self.kind} has no key {self.name}",
                "Check the name, or make the key: vault write -f MOUNT/keys/KEY derived=true.",
            )
        if facts.get("soft_deleted"):
            raise self._soft_deleted()
        if facts.get("derived") is not True or facts.get("supports_encryption") is not True:
            raise ConfigError(
                f"{self.name} is not a derived key that encrypts: it would not bind keys to their tenants",
                "Make another key: vault write -f MOUNT/keys/KEY derived=true.",
            )

    async def _unopened(self, version: int) -> CoatcheckError:
        """Return the reason why Vault did not decrypt, by what it says of the key. Its words differ from release to release."""
        facts = await self._facts()
        if facts is None:
            return KeyDestroyed(
                f"{self.kind} has no key {self.name} any more",
                "What it wrapped, and payloads under that, are gone for good.",
            )
        if facts.get("soft_deleted"):
            return self._soft_deleted()
        if version < self._number(facts, "min_available_version"):
            return KeyDestroyed(
                f"{self.kind} has trimmed version {version} of {self.name}, which wrapped a key",
                "Payloads that were sealed under the wrapped key are gone for good.",
            )
        if version < self._number(facts, "min_decryption_version"):
            return KeyUnavailable(
                f"{self.name} does not decrypt with version {version}, which wrapped a key",
                "Lower min_decryption_version, run `coatcheck rekey`, and raise it again.",
            )
        if version > self._number(facts, "latest_version"):
            return KeyUnavailable(
                f"{self.name} has no version {version} yet, which wrapped a key",
                "The node lags behind, or was restored from an older snapshot: restore a newer one.",
            )
        return _damaged()

    def _number(self, facts: Mapping[str, Any], name: str) -> int:
        number = facts.get(name)
        if not isinstance(number, int):
            raise self._client.unreadable()
        return number

    def _soft_deleted(self) -> KeyUnavailable:
        return KeyUnavailable(
            f"{self.name} is soft-deleted", "Restore it: vault write -f MOUNT/keys/KEY/soft-delete-restore."
        )

    def _path(self, verb: str) -> str:
        return f"{self._mount}/{verb}/{self._key}"

    def _decoded(self, data: Mapping[str, Any]) -> bytes:
        try:
            return base64.b64decode(data["plaintext"], validate=True)
        except (binascii.Error, LookupError, TypeError, ValueError):
            pass
        # Out here: the original would quote what there was.
        raise self._client.unreadable()

    def _wrapped(self, data: Mapping[str, Any]) -> bytes:
        ciphertext = data.get("ciphertext")
        wrapped = ciphertext.encode() if isinstance(ciphertext, str) else b""
        if not _WRAPPED.fullmatch(wrapped):
            raise self._client.unreadable()
        return wrapped

    def _typed(self, answer: "Answer") -> CoatcheckError:
        said = f"{self.kind} answers {answer.status} for {self.name}"
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return KeyServiceError(
                said,
                f"Allow the token's policy `read` on {self._path('keys')}, and `update` on {self._path('decrypt')}, "
                f"{self._path('datakey/plaintext')} and {self._path('encrypt')}.",
                retryable=False,
            )
        if answer.status == HTTPStatus.NOT_FOUND:
            return KeyUnavailable(said, "Check the path of the transit engine, and the namespace.")
        return ConfigError(said, "Check the key's type, and the endpoint.")


def _encoded(context: Mapping[str, str]) -> str:
    return base64.b64encode(context_bytes(context)).decode()


def _damaged() -> IntegrityError:
    return IntegrityError(
        "a wrapped key was damaged, or moved from another place", "Restore the original record."
    )
