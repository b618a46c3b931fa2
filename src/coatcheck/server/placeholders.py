"""Placeholders for payloads that cannot be decoded, so that the others of an answer can be shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import Payload

from coatcheck.errors import (
    CoatcheckError,
    FormatError,
    IntegrityError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    LimitExceeded,
    PayloadNotFound,
    StoreUnavailable,
    is_outage,
)
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference


@dataclass(frozen=True, slots=True)
class Unopened:
    """A payload that cannot be decoded.

    Args:
        data: Its envelope or reference; empty if it is neither.
        error: The error of decoding it.
        withheld: Namespaces in which it was not looked for, since the caller may not read them.
    """

    data: bytes
    error: Exception
    withheld: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The type of the error; ``ServerFailed`` for one that is not ours."""
        return type(self.error).__name__ if isinstance(self.error, CoatcheckError) else "ServerFailed"

    @property
    def reason(self) -> str:
        """The reason for the log: the error, the object and the key."""
        if not isinstance(self.error, CoatcheckError):
            # A foreign message may quote a payload.
            return type(self.error).__name__
        object_id, key_id = self._ids()
        about = [f"object {object_id}"] * bool(object_id) + [f"key {key_id}"] * bool(key_id)
        return f"{self.kind}: {self.error.what} [{', '.join(about)}]"

    @property
    def key_id(self) -> str:
        """The id of the key that it names, in hexadecimal; empty for none."""
        return self._ids()[1]

    def placeholder(self, request_id: str) -> Payload:
        """Build a readable payload that names the object, the key and the remedy.

        It reveals only the kind of the error, the ids in the payload, and which of the namespaces at the other end of Nexus
        operations the caller may not read; the rest is in the log under ``request_id``. If it replaces the details of a
        failure, Temporal shows ``message`` as the failure's message.
        """
        object_id, key_id = self._ids()
        happened, todo = _in_words(self.error)
        if self.withheld and isinstance(self.error, _MAY_BE_OF_ANOTHER) and not is_outage(self.error):
            rights = " or ".join(f"{namespace}:read" for namespace in self.withheld)
            todo += f" If it came by Nexus, the token lacks {rights}."
        said = {
            "coatcheck": "placeholder",
            "message": f"coatcheck cannot show this payload: {happened}. {todo}",
            "error": self.kind,
            "object": object_id,
            "key": key_id,
            "request": request_id,
        }
        text = json.dumps({name: value for name, value in said.items() if value})
        # No other metadata: with more, the command line would show it in base64.
        return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())

    def _ids(self) -> tuple[str, str]:
        """Return the ids of the object and the key in hexadecimal; empty for none."""
        named = self.error.object_id if isinstance(self.error, CoatcheckError) else ""
        try:
            if is_reference(self.data):
                reference = Reference.from_bytes(self.data)
                return named or reference.object_id.hex(), reference.key_id.hex()
            return named, Envelope.from_bytes(self.data).header.key_id.hex()
        except FormatError:
            return named, ""


_MAY_BE_OF_ANOTHER: Final = (IntegrityError, KeyUnavailable)
"""Errors at a payload that another namespace sealed."""
_WORDS: Final[Mapping[type[Exception], tuple[str, str]]] = {
    PayloadNotFound: (
        "the store does not have its object",
        "It was deleted, or is in another store: restore it from a backup or a replica.",
    ),
    KeyDestroyed: (
        "its key was destroyed",
        "It is gone for good: nobody can read what was sealed under that key.",
    ),
    KeyServiceError: ("the key service does not answer", "Try again."),
    KeyUnavailable: (
        "its key is not available",
        "Add the key to the codec server, as decrypt-only. If a KMS has it, check that it is enabled there.",
    ),
    IntegrityError: (
        "it is not authentic in this namespace",
        "It was damaged, changed or forged, was never sealed, or belongs to another namespace: restore the original.",
    ),
    FormatError: (
        "this release cannot read its form",
        "Upgrade the codec server, or restore the original.",
    ),
    LimitExceeded: (
        "it is too large to show",
        "Read it with `coatcheck get`, or raise serve.max_response or max_payload.",
    ),
    StoreUnavailable: ("the store does not answer", "Try again."),
    Exception: (
        "the codec server failed",
        "See its log under the number of the request.",
    ),
}
"""Cause and remedy by the error's type. They reveal nothing about keys, stores or settings. Kinds of a kind come before it."""


def _in_words(error: Exception) -> tuple[str, str]:
    if isinstance(error, KeyServiceError) and not is_outage(error):
        return _WORDS[Exception]
    return next(words for kind, words in _WORDS.items() if isinstance(error, kind))
