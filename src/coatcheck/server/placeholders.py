"""Placeholders, in an answer, for payloads that do not open, so that the others can be shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import Payload

from coatcheck.errors import (
    CoatcheckError,
    FormatError,
    IntegrityError,
    KeyUnavailable,
    LimitExceeded,
    PayloadNotFound,
    StoreUnavailable,
)
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference


@dataclass(frozen=True, slots=True)
class Unopened:
    """A payload that does not open.

    Args:
        data: Its envelope or reference; empty where it is neither.
        error: What came of it.
        withheld: Namespaces that it was not looked for in, since the caller may not read there.
    """

    data: bytes
    error: Exception
    withheld: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The type of the error, of our own tree."""
        return type(self.error).__name__ if isinstance(self.error, CoatcheckError) else "ServerFailed"

    @property
    def reason(self) -> str:
        """For the log: what happened, to which object, under which key."""
        if not isinstance(self.error, CoatcheckError):
            # Its message is somebody else's, and may quote a payload.
            return type(self.error).__name__
        object_id, key_id = self._ids()
        about = [f"object {object_id}"] * bool(object_id) + [f"key {key_id}"] * bool(key_id)
        return f"{self.kind}: {self.error.what} [{', '.join(about)}]"

    def placeholder(self, request_id: str) -> Payload:
        """A readable payload: which object, which key, what to do.

        It says no more of what happened than its kind, the ids that stand in the payload, and which of the namespaces at the
        other end of Nexus operations the caller may not read; the rest is in the log under ``request_id``. Where it stands for the details of a failure, ``message`` is shown as the failure's own.
        """
        object_id, key_id = self._ids()
        happened, todo = _in_words(self.error)
        if self.withheld and isinstance(self.error, _MAY_BE_OF_ANOTHER):
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
        # No metadata beside it: the command line shows what has more in base64.
        return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())

    def _ids(self) -> tuple[str, str]:
        """The object's and the key's, in hexadecimal; empty where there is none."""
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
        "the store has no such object",
        "It was deleted, or is in another store: restore it from a backup or a replica.",
    ),
    KeyUnavailable: (
        "the key that it was sealed under is not there",
        "Give the codec server that key too, as a decrypt-only one; where a KMS has it, see that it answers.",
    ),
    IntegrityError: (
        "it is not what was sealed for this namespace",
        "It was damaged, changed, forged or never sealed, or is of another namespace: restore the original.",
    ),
    FormatError: (
        "it is of no form that this release reads",
        "Upgrade the codec server, or restore the original.",
    ),
    LimitExceeded: (
        "it is larger than what is shown",
        "Read it with `coatcheck get`, or raise serve.max_response or max_payload.",
    ),
    StoreUnavailable: ("the store does not answer now", "Try again."),
    Exception: (
        "the codec server failed at it",
        "Its log says why, under the number of the request.",
    ),
}
"""Words on what happened and what to do, by the error's type. They tell nothing of keys, stores, settings."""


def _in_words(error: Exception) -> tuple[str, str]:
    return next(words for kind, words in _WORDS.items() if isinstance(error, kind))
