"""What a key management service has to do for us."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from coatcheck.contracts.keys import KEY_LENGTH


class KeyService(ABC):
    """One key of a key management service (KMS), which never leaves it: it wraps and unwraps keys of ours.

    Safe to use from several tasks, threads and event loops. Each method is one attempt; the caller repeats what
    raised :class:`StoreUnavailable`. No error holds key material.
    """

    kind: ClassVar[str]
    """What errors call the service."""
    name: str
    """Names the key, and can never mean another one. Stands next to everything that the key wrapped; not secret."""

    async def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """A new random secret of 32 bytes, and the same wrapped; raises as :meth:`wrap`."""
        secret = os.urandom(KEY_LENGTH)
        return secret, await self.wrap(secret, context)

    @abstractmethod
    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """``secret`` encrypted and authenticated, bound to ``context``, which is not secret.

        Raises:
            KeyUnavailable: The key is disabled, or was destroyed.
            StoreDenied: The credentials do not allow it.
            StoreUnavailable: The service cannot answer now.
            ConfigError: There are no credentials, or the key is of the wrong kind.
        """

    @abstractmethod
    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Undo :meth:`wrap`; also raises as it does.

        Raises:
            IntegrityError: ``wrapped`` is not what was made of a secret by this key with this context.
        """

    async def close(self) -> None:  # noqa: B027 - some have nothing to let go of
        """Let go of connections. The service can be used again."""
