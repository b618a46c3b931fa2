"""Google Cloud KMS. Needs ``pip install 'coatcheck[gcs]'``."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    IntegrityError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.keys.kms import KeyService, context_bytes

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from coatcheck.runtime.http import Answer

_ENDPOINT: Final = "https://cloudkms.googleapis.com"
_SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
_NAME: Final = re.compile(
    r"projects/[A-Za-z0-9:._-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}"
)
_STATUS: Final = re.compile(r"[A-Z_]{1,40}")
_DESTROYED: Final = b"current state is: DESTROYED."
"""End of Google's message for a version that is gone for good. One that waits for that is ``DESTROY_SCHEDULED``."""
_CONNECTIONS: Final = 16
_SECONDS: Final = 5.0


class GoogleKms(KeyService):
    """A symmetric key of Google Cloud KMS. google-auth finds and renews the credentials.

    The credentials need ``cloudkms.cryptoKeyVersions.useToEncrypt`` and ``useToDecrypt`` on the key (the role Cloud KMS
    CryptoKey Encrypter/Decrypter). Keys are bound by the additional authenticated data. Checksums (CRC32C) of
    requests and answers are compared on both sides.

    Args:
        name: ``projects/P/locations/L/keyRings/R/cryptoKeys/K``, without a version: its primary version encrypts.
        credentials: google-auth's. Defaults to application default credentials.
        endpoint_url: Another address of the service; with ``http://`` no credentials are sent unless given here.
        ca_bundle: A PEM file of the issuers to trust for the service and for Google's token server. Defaults to the
            system's.

    Raises:
        ConfigError: ``name`` is not a key's name, or a package is not installed.
    """

    kind: ClassVar[str] = "Google Cloud KMS"

    def __init__(
        self,
        name: str,
        *,
        credentials: "Credentials | None" = None,
        endpoint_url: str = _ENDPOINT,
        ca_bundle: str | None = None,
    ) -> None:
        try:
            from coatcheck.google.client import GoogleClient  # noqa: PLC0415 - optional
            from coatcheck.google.identity import GoogleIdentity  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise ConfigError(
                f"{missing.name} is not installed", "Run: pip install 'coatcheck[gcs]'"
            ) from missing
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name[:200]!r} is not the name of a key of Google Cloud KMS",
                "Write projects/P/locations/L/keyRings/R/cryptoKeys/K.",
            )
        self.name = name
        endpoint = endpoint_url.rstrip("/")
        identity = GoogleIdentity(
            credentials, _SCOPE, anonymous=endpoint.startswith("http:"), ca_bundle=ca_bundle
        )
        self._client = GoogleClient(
            endpoint, identity, _SECONDS, connections=_CONNECTIONS, ca_bundle=ca_bundle
        )

    def __repr__(self) -> str:
        return f"GoogleKms({self.name!r})"

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """See :meth:`KeyService.wrap`."""
        answer = await self._ask("encrypt", "plaintext", secret, context)
        verified = (
            answer.get("verifiedPlaintextCrc32c"),
            answer.get("verifiedAdditionalAuthenticatedDataCrc32c"),
        )
        return self._checked(answer, "ciphertext", whole=verified == (True, True))

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See :meth:`KeyService.unwrap`."""
        return self._checked(await self._ask("decrypt", "ciphertext", wrapped, context), "plaintext")

    async def close(self) -> None:
        """See :meth:`KeyService.close`."""
        await self._client.close()

    async def _ask(self, verb: str, field: str, data: bytes, context: Mapping[str, str]) -> dict[str, Any]:
        bound = context_bytes(context)
        body = {
            field: base64.b64encode(data).decode(),
            f"{field}Crc32c": _crc32c(data),
            "additionalAuthenticatedData": base64.b64encode(bound).decode(),
            "additionalAuthenticatedDataCrc32c": _crc32c(bound),
        }
        try:
            answer = await self._client.ask(
                "POST",
                f"/v1/{self.name}:{verb}",
                {},
                "",
                headers={"Content-Type": "application/json"},
                body=(json.dumps(body).encode(),),
            )
        except (StoreDenied, StoreUnavailable) as error:
            # The client is the one that the store has.
            raise KeyServiceError(error.what, error.todo, retryable=error.retryable) from None
        if answer.status != HTTPStatus.OK:
            raise self._typed(answer, verb)
        try:
            said = json.loads(answer.body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise self._unreadable()
        return said

    def _checked(self, answer: Mapping[str, Any], field: str, *, whole: bool = True) -> bytes:
        """Return a field of the answer, if it arrived undamaged."""
        try:
            data = base64.b64decode(answer[field], validate=True)
        except (binascii.Error, LookupError, TypeError, ValueError):
            data = None
        if data is None or not whole or str(answer.get(f"{field}Crc32c")) != _crc32c(data):
            raise self._unreadable()
        return data

    def _unreadable(self) -> KeyServiceError:
        # Without a cause: it would quote the answer, and there may be a key in it.
        return KeyServiceError(
            f"the answer of {self.kind} was damaged in transit", "Retry; check the endpoint."
        )

    def _typed(self, answer: "Answer", verb: str) -> CoatcheckError:
        status = _status(answer.body)
        said = f"{self.kind} answers {f'{answer.status} {status}'.rstrip()} for {self.name}"
        if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT} or (
            answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        ):
            return KeyServiceError(said, "Retry after a pause.", retry_after=answer.retry_after())
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return KeyServiceError(
                said, "Give the role Cloud KMS CryptoKey Encrypter/Decrypter on the key.", retryable=False
            )
        if verb == "decrypt" and status == "FAILED_PRECONDITION" and _DESTROYED in answer.body:
            return KeyDestroyed(
                f"{self.kind} has destroyed the version of {self.name} that wrapped a key",
                "Payloads that were sealed under the wrapped key are gone for good.",
            )
        if answer.status == HTTPStatus.NOT_FOUND or status == "FAILED_PRECONDITION":
            return KeyUnavailable(
                said, "Enable the version of the key, or restore it before it is destroyed."
            )
        if verb == "decrypt" and status == "INVALID_ARGUMENT":
            return IntegrityError(
                "a wrapped key was damaged, or moved from another place", "Restore the original record."
            )
        return ConfigError(said, "Check the key's purpose (encrypt and decrypt), its name and the endpoint.")


def _crc32c(data: bytes) -> str:
    import google_crc32c  # noqa: PLC0415 - optional

    return str(google_crc32c.value(data))


def _status(body: bytes) -> str:
    """Return Google's canonical code, such as ``PERMISSION_DENIED``; empty if there is none."""
    try:
        status = json.loads(body)["error"]["status"]
    except (ValueError, LookupError, TypeError):
        return ""
    return status if isinstance(status, str) and _STATUS.fullmatch(status) else ""
