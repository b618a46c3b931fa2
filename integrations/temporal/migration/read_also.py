"""Common parts of readers of other formats: they only read, and only for one namespace.

A history is not trusted, and another tool's references in it are not authenticated. So a reader's sources are
configured, never taken from the history; the data must have the hash that the history states.
"""

from hashlib import sha256
from hmac import compare_digest
from typing import Final, NoReturn, Protocol, Self, runtime_checkable

from coatcheck.errors import ConfigError, IntegrityError, LimitExceeded
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, off_loop

MAX_FOREIGN_PAYLOAD: Final = 50 * 2**20
"""Bytes: 50 MiB, the default of the SDK's own drivers (``max_payload_size``)."""


@runtime_checkable
class OfNamespace(Protocol):
    """A reader that must know whose histories it reads."""

    def within(self, namespace: str) -> Self:
        """Return the same reader for one namespace: equal for equal namespaces."""
        ...


def no_writing(name: str) -> NoReturn:
    """Refuse to write in another tool's format.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(f"{name} only reads", "Pass it in read_also=..., which never writes with it.")


def no_namespace(name: str) -> ConfigError:
    """Return the error for a reader without a namespace."""
    return ConfigError(
        f"{name} reads for no namespace yet", "Pass it in read_also=..., which sets the namespace."
    )


def too_large(size: int, limit: int, digest: str) -> LimitExceeded:
    """Return the error for a payload above a reader's limit, in bytes."""
    return LimitExceeded(
        f"a payload has {size} bytes; at most {limit} are allowed",
        "Raise the reader's max_payload if payloads of this size are expected.",
        digest,
    )


async def check_digest(data: bytes, digest: str) -> None:
    """Compare the SHA-256 of ``data`` with ``digest``, in hexadecimal. Hashes large data in a thread.

    Raises:
        IntegrityError: They differ. The message does not contain the hash of the data found.
    """
    found = await off_loop(len(data), DECODE_INLINE_UP_TO, lambda: sha256(data).hexdigest())
    if not compare_digest(found, digest):
        raise IntegrityError(
            "the object is not what the history says it is", "Restore the original object.", digest
        )
