"""Form of a value in a checkpoint: text, in one of three forms.

A serialized value that the chain leaves as it is is unchanged. A sealed or offloaded one is
``{"__coatcheck__": "<base64url>"}``, which is JSON, since what one function invokes another one with must be. Text that could
be mistaken for such a form is ``{"__coatcheck__": ["<text>"]}``. ``docs/wire-format.md`` specifies them.
"""

import json
from typing import Any, Final

from coatcheck.format.shown import MARKER, sealed_of, text_of

_LOOKED_AT: Final = 64
"""Characters at the beginning of a text, in which the marker stands if there is one."""


def marked(sealed: bytes) -> str:
    """Return the form of a value that was sealed or offloaded."""
    return f'{{"{MARKER}":"{text_of(sealed)}"}}'


def unmarked(text: str) -> str:
    """Return the form of a text that stays as it is: the text itself, unless it could be mistaken for a marked one."""
    return json.dumps({MARKER: [text]}) if MARKER in text[:_LOOKED_AT] else text


def read(text: str) -> bytes | str:
    """Return the bytes that :func:`marked` was given, or the text that :func:`unmarked` was given."""
    if MARKER not in text[:_LOOKED_AT]:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if (found := read_value(value)) is None else found


def read_value(value: Any) -> bytes | str | None:
    """Return what :func:`read` returns, of a form that was parsed as JSON; None if it is no form of ours."""
    inner = value.get(MARKER) if isinstance(value, dict) and len(value) == 1 else None
    if isinstance(inner, str):
        return sealed_of(inner)
    if isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], str):
        return inner[0]
    return None
