"""Reader of data sealed by Inngest's encryption middleware (the package ``inngest-encryption``, "inngest/libsodium")."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from coatcheck.errors import ConfigError, FormatError, IntegrityError
from coatcheck.integrations.inngest.marker import from_json


class EncryptionReader:
    """Opens results and events that the official middleware sealed; for ``claim_check(read_also=[...])``.

    Its format names no key, so all are tried. Needs ``pip install pynacl``.

    Args:
        *keys: Keys of ``EncryptionMiddleware``: its ``secret_key`` and ``fallback_decryption_keys``, each a string, or
            bytes in hexadecimal.

    Raises:
        ConfigError: There is no key, one is malformed, or pynacl is not installed.
    """

    def __init__(self, *keys: str | bytes) -> None:
        if find_spec("nacl") is None:
            raise ConfigError("pynacl is not installed", "Run: pip install pynacl")
        from nacl.secret import SecretBox  # noqa: PLC0415 - an optional dependency

        if not keys:
            raise ConfigError("EncryptionReader has no key", "Pass the middleware's secret_key.")
        try:
            self._boxes: Sequence[SecretBox] = [SecretBox(_key(key)) for key in keys]
        except ValueError:
            raise ConfigError(
                "a key of EncryptionReader is malformed", "Pass it as EncryptionMiddleware takes it."
            ) from None

    def knows(self, value: object) -> bool:
        """See :meth:`FormatReader.knows`."""
        return (
            isinstance(value, dict)
            and value.get("__ENCRYPTED__") is True
            and value.get("__STRATEGY__") == "inngest/libsodium"
            and isinstance(value.get("data"), str)
        )

    async def read(self, value: Any, run: str) -> Any:  # noqa: ARG002 - the format is bound to no run
        """See :meth:`FormatReader.read`.

        Raises:
            IntegrityError: It was sealed under none of the keys, or tampered with.
            FormatError: It is not base64, or the sealed data is not JSON.
        """
        from nacl.exceptions import CryptoError  # noqa: PLC0415 - an optional dependency

        try:
            sealed = base64.b64decode(value["data"], validate=True)
        except ValueError:
            raise FormatError("malformed ciphertext", "It was damaged or truncated.") from None
        for box in self._boxes:
            try:
                return from_json(box.decrypt(sealed))
            except (CryptoError, ValueError):
                continue
        raise IntegrityError(
            "data encrypted by another middleware opens under none of the keys",
            "Pass every key that it was written with to EncryptionReader.",
        )


def _key(key: str | bytes) -> bytes:
    """Derive a key as the middleware does: strings are hashed (BLAKE2b), bytes are hexadecimal."""
    if isinstance(key, str):
        return hashlib.blake2b(key.encode(), digest_size=32).digest()
    return bytes.fromhex(key.decode("ascii"))
