"""Tokens: envelopes and references as the text that stands in a history in place of a payload."""

import base64
import binascii

from coatcheck.format.shown import MESSAGE
from coatcheck.format.wire import is_ours


def to_token(sealed: bytes) -> str:
    """Return the token for an envelope or a reference."""
    return MESSAGE + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def from_token(text: str) -> bytes | None:
    """Return the envelope or the reference in a token; None if ``text`` is anything else. Verifies nothing."""
    if not text.startswith(MESSAGE):
        return None
    encoded = text[len(MESSAGE) :].replace("-", "+").replace("_", "/")
    try:
        sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return sealed if is_ours(sealed) else None
