"""The keys that tenants' keys are derived from: one that seals, and any number that only open."""

import base64
import binascii
import hmac
import os
from dataclasses import dataclass, field

from coatcheck.errors import ConfigError, KeyUnavailable

KEY_LENGTH = 32
"""Bytes."""
_ID_LENGTH = 4

_HOW_TO_MAKE_ONE = "`coatcheck keys new` makes one: 32 random bytes in base64."


@dataclass(frozen=True, slots=True)
class Key:
    """A 256-bit key, named by a fingerprint of itself, so that one name can never mean two keys.

    Args:
        secret: 32 bytes from a cryptographic random source. Not part of the ``repr``.

    Raises:
        ConfigError: ``secret`` has another length.
    """

    secret: bytes = field(repr=False)
    id: bytes = field(init=False)
    """4 bytes: the start of HMAC-SHA256 under the key over a fixed label, which tells nothing about the key."""

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_LENGTH:
            raise ConfigError(f"a key has {KEY_LENGTH} bytes, not {len(self.secret)}", _HOW_TO_MAKE_ONE)
        fingerprint = hmac.digest(self.secret, b"coatcheck/v1/key-id", "sha256")
        object.__setattr__(self, "id", fingerprint[:_ID_LENGTH])

    @classmethod
    def generate(cls) -> "Key":
        """A new key from the operating system's random source."""
        return cls(os.urandom(KEY_LENGTH))

    @classmethod
    def from_text(cls, text: str) -> "Key":
        """Read what :meth:`to_text` wrote.

        Raises:
            ConfigError: ``text`` is not 32 bytes in base64. The message does not repeat it.
        """
        try:
            secret = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError("a key is not valid URL-safe base64", _HOW_TO_MAKE_ONE) from None
        return cls(secret)

    def to_text(self) -> str:
        """The secret in URL-safe base64 (RFC 4648, section 5): 44 characters. Keep it where secrets are kept."""
        return base64.urlsafe_b64encode(self.secret).decode("ascii")


class Keyring:
    """One primary key, which seals and opens, and decrypt-only keys, found by id and never by trying.

    To rotate: put the new key first and keep the old ones for as long as anything sealed under them may be read.

    Args:
        primary: Seals everything new.
        decrypt_only: Open what was sealed under them before.

    Raises:
        ConfigError: Two different keys have the same id (a chance of one in four billion).
    """

    def __init__(self, primary: Key, *decrypt_only: Key) -> None:
        self.primary = primary
        self._keys: dict[bytes, Key] = {}
        for key in (primary, *decrypt_only):
            if self._keys.setdefault(key.id, key) != key:
                raise ConfigError(f"two keys have the id {key.id.hex()}", "Make another key.")

    def __repr__(self) -> str:
        return f"Keyring({', '.join(key_id.hex() for key_id in self._keys)})"

    @classmethod
    def from_env(cls, variable: str = "COATCHECK_KEYS") -> "Keyring":
        """The keys in an environment variable, separated by commas, the primary first.

        Raises:
            ConfigError: The variable is not set, or holds something that is no key.
        """
        texts = [text for text in os.environ.get(variable, "").split(",") if text.strip()]
        if not texts:
            raise ConfigError(
                f"the environment variable {variable} holds no key",
                f"Set it to one or more keys, separated by commas, the primary first. {_HOW_TO_MAKE_ONE}",
            )
        return cls(*map(Key.from_text, texts))

    @property
    def ids(self) -> tuple[bytes, ...]:
        """Of every key, the primary's first."""
        return tuple(self._keys)

    def find(self, key_id: bytes) -> Key:
        """The key with this id.

        Raises:
            KeyUnavailable: There is none.
        """
        try:
            return self._keys[key_id]
        except KeyError:
            held = ", ".join(key.hex() for key in self._keys)
            raise KeyUnavailable(
                f"the payload was sealed under the key {key_id.hex()}; the keyring holds {held}",
                "Add that key to the keyring as a decrypt-only key.",
            ) from None
