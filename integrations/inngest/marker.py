"""How a value stands in Inngest's run state and events: as JSON, in one of three forms.

A value that the chain leaves as it is stands there unchanged. One that it sealed or offloaded is
``{"__coatcheck__": "<base64url>"}``. One that only looks like something that is read here, because a user's data has such
a key in it, is ``{"__coatcheck__": [value]}``, so that it comes back as it was. ``docs/wire-format.md`` specifies them.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from coatcheck.errors import FormatError
from coatcheck.format.shown import MARKER, MESSAGE
from coatcheck.format.wire import is_ours

MARKED_SIZE: Final = 160
"""Bytes of a reference in this form, about: one with the alias ``default`` and no bases takes 136."""
_ESCAPED: Final = f"{MESSAGE}="
"""What one begins with that only looks so. No base64 has ``=`` in front."""
_READ_HERE: Final = (b'"__coatcheck__"', b'"__REMOTE_STATE__"', b'"__ENCRYPTED__"', b'"coatcheck:')
"""What a reader may take for more than user data: ours, and the keys of Inngest's own middleware."""
_FRAME: Final = len(f'{{"{MARKER}":""}}')


def to_json(value: object) -> bytes:
    """The payload that ``value`` is: JSON as :func:`json.dumps` has it, without spaces, in UTF-8.

    Raises:
        TypeError: There is no JSON for it, as for :func:`json.dumps`.
        ValueError: As above.
    """
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # A lone surrogate: JSON has an escape for it, UTF-8 has no bytes.
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(data: bytes) -> Any:
    """The value that a payload is.

    Raises:
        FormatError: The payload is no JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError("what was sealed is no JSON", "It was written by another integration.") from None


def looks_marked(data: bytes) -> bool:
    """Whether there is, anywhere in a payload, what a reader may take for more than user data. May err to the safe side."""
    return any(text in data for text in _READ_HERE)


def marked(sealed: bytes) -> dict[str, object]:
    """What stands for a value that was sealed or offloaded."""
    return {MARKER: _to_text(sealed)}


def marked_size(sealed: bytes) -> int:
    """Bytes of :func:`marked` as JSON."""
    return _FRAME + (4 * len(sealed) + 2) // 3


def escaped(value: object) -> dict[str, object]:
    """What stands for a value that stays as it is, and would be mistaken for a marked one."""
    return {MARKER: [value]}


def is_escaped(value: Mapping[str, object]) -> bool:
    """Whether ``value`` was written by :func:`escaped`."""
    inner = value.get(MARKER)
    return isinstance(inner, list) and len(inner) == 1


def sealed_in(value: Mapping[str, object]) -> bytes | None:
    """What :func:`marked` was given; None if ``value`` is user data, whatever its keys are."""
    text = value.get(MARKER)
    return _from_text(text) if isinstance(text, str) else None


def marked_message(sealed: bytes) -> str:
    """What stands for the message of an error that was sealed."""
    return MESSAGE + _to_text(sealed)


def escaped_message(message: str) -> str:
    """What stands for one that stays as it is; ``message`` itself unless it would be mistaken for a sealed one."""
    return _ESCAPED + message if message.startswith(MESSAGE) else message


def sealed_in_message(message: str) -> bytes | None:
    """What :func:`marked_message` was given; None if it was not."""
    return _from_text(message.removeprefix(MESSAGE)) if message.startswith(MESSAGE) else None


def unescaped_message(message: str) -> str:
    """What :func:`escaped_message` was given."""
    return message.removeprefix(_ESCAPED)


def _to_text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _from_text(text: str) -> bytes | None:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    # The standard library's decoder skips what it does not know; ours has one text only.
    return data if is_ours(data) and _to_text(data) == text else None
