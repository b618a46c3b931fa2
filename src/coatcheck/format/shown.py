"""Envelopes and references as dashboards, queries and logs show them, and the way back to their bytes."""

import base64
import binascii
import json
import re
from typing import Final

from coatcheck.format.wire import MAGIC, is_ours

MARKER: Final = "__coatcheck__"
"""The key of the JSON object that replaces a value where only JSON is allowed."""
MESSAGE: Final = "coatcheck:"
"""Prefix of a text that replaces another text, such as an error message."""
_HEX: Final = re.compile(rf"(?i)(?:0x|\\x)?({MAGIC.hex()}(?:[0-9a-f]{{2}})*)")


def text_of(sealed: bytes) -> str:
    """Return the one text that an integration writes for an envelope or a reference: base64url without padding."""
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def sealed_of(text: str) -> bytes | None:
    """Return the bytes that :func:`text_of` was given; None for any other text."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    # The standard library's decoder skips what it does not know; ours has one text only.
    return data if is_ours(data) and text_of(data) == text else None


def sealed_in_text(text: str) -> bytes | None:
    """Return the envelope or reference in a text as some tool shows it; None if there is none.

    Accepts base64, URL-safe or not, with or without padding; hexadecimal; ``coatcheck:...``; and
    ``{"__coatcheck__": "..."}``. Ignores quotes around it.
    """
    text = text.strip()
    if text.startswith("{"):
        return _in_object(text)
    text = text.strip("\"'").removeprefix(MESSAGE)
    found = _HEX.fullmatch(text)
    data = bytes.fromhex(found[1]) if found else _from_base64(text)
    return data if is_ours(data) else None


def _in_object(text: str) -> bytes | None:
    try:
        value = json.loads(text)
    # RecursionError: JSON can be nested to any depth.
    except (ValueError, RecursionError):
        return None
    inner = value.get(MARKER)
    return sealed_in_text(inner) if isinstance(inner, str) and not inner.startswith("{") else None


def _from_base64(text: str) -> bytes:
    unpadded = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
