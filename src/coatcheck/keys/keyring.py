"""The keys that tenants' keys are derived from: one that seals, and any number that only open."""

import os
import stat
from pathlib import Path

from coatcheck.contracts.keys import HOW_TO_MAKE_ONE, Key, KeySource
from coatcheck.errors import ConfigError, KeyUnavailable

_HOW_TO_MAKE_A_FILE = "`coatcheck keys new` makes a key; put it in a file of mode 600, one key a line."


class Keyring(KeySource):
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
                f"Set it to one or more keys, separated by commas, the primary first. {HOW_TO_MAKE_ONE}",
            )
        return cls(*map(Key.from_text, texts))

    @classmethod
    def from_file(cls, path: str | Path) -> "Keyring":
        """The keys in a file, one a line, the primary first. Empty lines and what follows a ``#`` do not count.

        Raises:
            ConfigError: The file cannot be read, or others than its owner may read or change it, or it holds no key or
                something that is no key.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
                text = file.read().decode("ascii")
        except OSError as error:
            raise ConfigError(
                f"the file of keys {path} cannot be read: {error.strerror}", _HOW_TO_MAKE_A_FILE
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is no file of keys", _HOW_TO_MAKE_A_FILE) from None
        if others:
            raise ConfigError(
                f"others than its owner have access to the file of keys {path}", f"Run: chmod 600 {path}"
            )
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        keys = [Key.from_text(line) for line in lines if line]
        if not keys:
            raise ConfigError(f"the file of keys {path} holds no key", _HOW_TO_MAKE_A_FILE)
        return cls(*keys)

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

    def primary_key_id(self, tenant: str) -> bytes:  # noqa: ARG002 - all tenants have the same
        """See :class:`KeySource`."""
        return self.primary.id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:  # noqa: ARG002 - all tenants have the same
        """See :class:`KeySource`."""
        return self.ids

    def key(self, tenant: str, key_id: bytes) -> Key:  # noqa: ARG002 - all tenants have the same
        """See :class:`KeySource`: the secret is the same, and each tenant's keys are derived from it."""
        return self.find(key_id)
