"""The interface of a source of keys."""

import base64
import binascii
import hmac
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from coatcheck.errors import ConfigError

KEY_LENGTH = 32
"""Bytes."""
_ID_LENGTH = 4
HOW_TO_MAKE_ONE = "`coatcheck keys new` makes one: 32 random bytes in base64."


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Key:
    """A 256-bit key, identified by a fingerprint of itself, so that one id never means two keys.

    Args:
        secret: 32 bytes from a cryptographic random source. Not part of the ``repr``.

    Raises:
        ConfigError: ``secret`` does not have 32 bytes.
    """

    secret: bytes = field(repr=False)
    id: bytes = field(init=False)
    """4 bytes: the start of HMAC-SHA256 under the key over a fixed label; reveals nothing about the key."""

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_LENGTH:
            raise ConfigError(f"a key has {KEY_LENGTH} bytes, not {len(self.secret)}", HOW_TO_MAKE_ONE)
        fingerprint = hmac.digest(self.secret, b"coatcheck/v1/key-id", "sha256")
        object.__setattr__(self, "id", fingerprint[:_ID_LENGTH])

    @classmethod
    def generate(cls) -> "Key":
        """Return a new key from the operating system's random source."""
        return cls(os.urandom(KEY_LENGTH))

    @classmethod
    def from_text(cls, text: str) -> "Key":
        """Read the output of :meth:`to_text`.

        Raises:
            ConfigError: ``text`` is not 32 bytes in base64. The message does not repeat it.
        """
        try:
            secret = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError("a key is not valid URL-safe base64", HOW_TO_MAKE_ONE) from None
        return cls(secret)

    def to_text(self) -> str:
        """Return the secret in URL-safe base64 (RFC 4648, section 5): 44 characters. Keep it where you keep secrets."""
        return base64.urlsafe_b64encode(self.secret).decode("ascii")


class KeySource(ABC):
    """The keys of each tenant, for :class:`~coatcheck.Encrypt`. Safe to use from threads and event loops.

    The synchronous methods do no I/O. If loading a key needs I/O, one of the ``load`` methods is awaited first; the key
    then stays usable for a while.
    """

    loads: bool = False
    """True if keys have to be loaded. If False, the ``load`` methods do nothing and are not awaited."""

    @abstractmethod
    def primary_key_id(self, tenant: str) -> bytes:
        """Return the id of the key that seals the tenant's new payloads.

        Raises:
            KeyUnavailable: It is not loaded.
        """

    @abstractmethod
    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """Return the ids of all keys that payloads of the tenant may be sealed under, the primary's first.

        Raises:
            KeyUnavailable: They are not loaded.
        """

    @abstractmethod
    def key(self, tenant: str, key_id: bytes) -> Key:
        """Return the tenant's key with this id.

        Raises:
            KeyUnavailable: It does not exist, or is not loaded.
        """

    def is_loaded(self, tenant: str, key_id: bytes | None) -> bool:  # noqa: ARG002 - most have nothing to load
        """Return True if a key need not be loaded now, so that the ``load`` methods are not awaited. Does no I/O.

        Args:
            tenant: The tenant's name.
            key_id: The key's id; None for the primary.
        """
        return not self.loads

    async def load_primary(self, tenant: str) -> None:  # noqa: B027 - most have nothing to load
        """Load the tenant's primary key; make one if it has none. Raises as :meth:`~coatcheck.Sealing.load_primary`."""

    async def load(self, tenant: str, key_id: bytes) -> None:  # noqa: B027 - most have nothing to load
        """Load a key with which to open something. Raises as :meth:`load_primary`."""

    async def load_all(self, tenant: str) -> None:  # noqa: B027 - most have nothing to load
        """Load all keys of the tenant; make none. Raises as :meth:`load_primary`."""

    async def close(self) -> None:  # noqa: B027 - most sources have nothing to let go of
        """Close connections and drop loaded keys. The source can be used again."""
