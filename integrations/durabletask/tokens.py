"""Envelopes and references as the text that stands in a history in place of a payload.

A token is the payload store's: the SDK exchanges it for the payload before anything else sees it. A sealed value is the
converter's, in JSON: the SDK hands it on as it is, and the converter opens it.
"""

import base64
import binascii
from typing import Final

from coatcheck.format.shown import MARKER, MESSAGE
from coatcheck.format.wire import is_ours

_BEGIN: Final = f'{{"{MARKER}":"'
_END: Final = '"}'


def to_token(sealed: bytes) -> str:
    """Return the token for an envelope or a reference."""
    return MESSAGE + _to_text(sealed)


def from_token(text: str) -> bytes | None:
    """Return the envelope or the reference in a token; None if ``text`` is anything else. Verifies nothing."""
    return _from_text(text[len(MESSAGE) :]) if text.startswith(MESSAGE) else None


def to_value(sealed: bytes) -> str:
    """Return the sealed value for an envelope."""
    return _BEGIN + _to_text(sealed) + _END


def from_value(text: str) -> bytes | None:
    """Return the envelope in a sealed value; None if ``text`` is anything else. Verifies nothing."""
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        return None
    return _from_text(text[len(_BEGIN) : -len(_END)])


def _to_text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def _from_text(encoded: str) -> bytes | None:
    try:
        standard = encoded.replace("-", "+").replace("_", "/")
        sealed = base64.b64decode(standard + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return sealed if is_ours(sealed) else None
