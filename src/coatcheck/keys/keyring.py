"""Master keys from which tenants' keys are derived: one that seals and opens, and others that only open."""

import os
import stat
from pathlib import Path

from coatcheck.contracts.keys import HOW_TO_MAKE_ONE, Key, KeySource
from coatcheck.errors import ConfigError, KeyUnavailable

_HOW_TO_MAKE_A_FILE = "`coatcheck keys new` makes a key. Put it in a file with mode 600, one key per line."


class Keyring(KeySource):
    """One primary key, which seals and opens, and decrypt-only keys. Keys are found by id, never by trying.

    To rotate, put the new key first, and keep the old ones as long as payloads that were sealed under them are read.

    Args:
        primary: Seals new payloads.
        *decrypt_only: Open payloads that were sealed under them.

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
        """Read the keys in an environment variable, separated by commas, the primary first.

        Raises:
            ConfigError: The variable is not set, or contains something that is not a key.
        """
        texts = [text for text in os.environ.get(variable, "").split(",") if text.strip()]
        if not texts:
            raise ConfigError(
                f"the environment variable {variable} contains no key",
                f"Set it to one or more keys, separated by commas, the primary first. {HOW_TO_MAKE_ONE}",
            )
        return cls(*map(Key.from_text, texts))

    @classmethod
    def from_file(cls, path: str | Path) -> "Keyring":
        """Read the keys in a file, one per line, the primary first. Empty lines and text after ``#`` are ignored.

        Raises:
            ConfigError: The file cannot be read, others than its owner have access, or it contains no key or something
                that is not a key.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
                text = file.read().decode("ascii")
        except OSError as error:
            raise ConfigError(
                f"the key file {path} cannot be read: {error.strerror}", _HOW_TO_MAKE_A_FILE
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not a key file", _HOW_TO_MAKE_A_FILE) from None
        if others:
            raise ConfigError(
                f"others than its owner have access to the key file {path}", f"Run: chmod 600 {path}"
            )
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        keys = [Key.from_text(line) for line in lines if line]
        if not keys:
            raise ConfigError(f"the key file {path} contains no key", _HOW_TO_MAKE_A_FILE)
        return cls(*keys)

    @property
    def ids(self) -> tuple[bytes, ...]:
        """Ids of all keys, the primary's first."""
        return tuple(self._keys)

    def find(self, key_id: bytes) -> Key:
        """Return the key with this id.

        Raises:
            KeyUnavailable: It is not in the keyring.
        """
        try:
            return self._keys[key_id]
        except KeyError:
            known = ", ".join(key.hex() for key in self._keys)
            raise KeyUnavailable(
                f"the payload was sealed under the key {key_id.hex()}; the keyring has {known}",
                "Add that key to the keyring as a decrypt-only key.",
            ) from None

    def primary_key_id(self, tenant: str) -> bytes:  # noqa: ARG002 - all tenants have the same
        """See :class:`KeySource`."""
        return self.primary.id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:  # noqa: ARG002 - all tenants have the same
        """See :class:`KeySource`."""
        return self.ids

    def key(self, tenant: str, key_id: bytes) -> Key:  # noqa: ARG002 - all tenants have the same
        """See :class:`KeySource`. All tenants share the secret; each tenant's keys are derived from it."""
        return self.find(key_id)
