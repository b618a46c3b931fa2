"""The interface of a key management service."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from coatcheck.contracts.keys import KEY_LENGTH


class KeyService(ABC):
    """One key of a key management service (KMS). It never leaves the service; it wraps and unwraps tenants' keys.

    Safe to use from several tasks, threads and event loops. Each method makes one attempt; the caller retries after
    a retryable :class:`KeyServiceError`. No error contains key material.
    """

    kind: ClassVar[str]
    """The name of the service in errors."""
    name: str
    """The name of the key, which never means another one. It is stored with everything that the key wrapped; not secret."""

    async def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Return a new random secret of 32 bytes, and the same secret wrapped. Raises as :meth:`wrap`."""
        secret = os.urandom(KEY_LENGTH)
        return secret, await self.wrap(secret, context)

    @abstractmethod
    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """Return ``secret`` encrypted and authenticated.

        Args:
            secret: 32 bytes.
            context: Names and values that are authenticated with it; not secret.

        Raises:
            KeyUnavailable: The key is disabled, or does not exist.
            KeyServiceError: The service cannot answer now; or, not retryable, the credentials do not allow it.
            ConfigError: There are no credentials, or the key is of the wrong kind.
        """

    @abstractmethod
    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Undo :meth:`wrap`. Also raises as :meth:`wrap` does.

        Args:
            wrapped: The output of :meth:`wrap`.
            context: The same context as there.

        Raises:
            IntegrityError: ``wrapped`` was not made by this key with this context.
            KeyDestroyed: The service has destroyed what it was made with.
        """

    async def close(self) -> None:  # noqa: B027 - some have nothing to close
        """Close connections. The service can be used again."""


def context_bytes(context: Mapping[str, str]) -> bytes:
    """Return the one form of a context in bytes, for services that bind bytes: JSON, sorted by name, without spaces."""
    return json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode()
