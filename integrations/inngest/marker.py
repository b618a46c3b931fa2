"""Form of a value in Inngest's run state and events: JSON, in one of three forms.

A value that the chain leaves as it is is unchanged. A sealed or offloaded one is
``{"__coatcheck__": "<base64url>"}``. User data that could be mistaken for such a form, because it has such a key, is
``{"__coatcheck__": [value]}``, so that it comes back as it was. ``docs/wire-format.md`` specifies them.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from coatcheck.errors import FormatError
from coatcheck.format.shown import MARKER, MESSAGE, sealed_of, text_of

MARKED_SIZE: Final = 160
"""Approximate bytes of a reference in this form: one with the alias ``default`` and no bases takes 136."""
_ESCAPED: Final = f"{MESSAGE}="
"""Prefix of an escaped message. No base64 begins with ``=``."""
_READ_HERE: Final = (b'"__coatcheck__"', b'"__REMOTE_STATE__"', b'"__ENCRYPTED__"', b'"coatcheck:')
"""Keys that a reader may take for more than user data: ours, and those of Inngest's own middleware."""
_FRAME: Final = len(f'{{"{MARKER}":""}}')


def to_json(value: object) -> bytes:
    """Return ``value`` as a payload: JSON as by :func:`json.dumps`, without spaces, in UTF-8.

    Raises:
        TypeError: ``value`` cannot be JSON, as for :func:`json.dumps`.
        ValueError: As above.
    """
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # A lone surrogate: JSON has an escape for it, UTF-8 has no bytes.
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(data: bytes) -> Any:
    """Return the value in a payload.

    Raises:
        FormatError: The payload is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError(
            "the sealed payload is not JSON", "It was written by another integration."
        ) from None


def looks_marked(data: bytes) -> bool:
    """Tell if anything in a payload could be taken for more than user data. May err on the safe side."""
    return any(text in data for text in _READ_HERE)


def marked(sealed: bytes) -> dict[str, object]:
    """Return the form of a value that was sealed or offloaded."""
    return {MARKER: text_of(sealed)}


def marked_size(sealed: bytes) -> int:
    """Return the bytes of :func:`marked` as JSON."""
    return _FRAME + (4 * len(sealed) + 2) // 3


def escaped(value: object) -> dict[str, object]:
    """Return the form of a value that stays as it is but could be mistaken for a marked one."""
    return {MARKER: [value]}


def is_escaped(value: Mapping[str, object]) -> bool:
    """Tell if ``value`` was written by :func:`escaped`."""
    inner = value.get(MARKER)
    return isinstance(inner, list) and len(inner) == 1


def sealed_in(value: Mapping[str, object]) -> bytes | None:
    """Return the bytes that :func:`marked` was given; None if ``value`` is user data, whatever its keys are."""
    text = value.get(MARKER)
    return sealed_of(text) if isinstance(text, str) else None


def marked_message(sealed: bytes) -> str:
    """Return the form of an error's sealed message."""
    return MESSAGE + text_of(sealed)


def escaped_message(message: str) -> str:
    """Return the form of a message that stays as it is: ``message`` itself, unless it could be mistaken for a sealed one."""
    return _ESCAPED + message if message.startswith(MESSAGE) else message


def sealed_in_message(message: str) -> bytes | None:
    """Return the bytes that :func:`marked_message` was given; None for any other message."""
    return sealed_of(message.removeprefix(MESSAGE)) if message.startswith(MESSAGE) else None


def unescaped_message(message: str) -> str:
    """Return the message that :func:`escaped_message` was given."""
    return message.removeprefix(_ESCAPED)
