"""Metadata of checkpoints: what a saver shows and filters stays in the clear, the rest is one encoded value."""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any, Final

from coatcheck.errors import FormatError
from coatcheck.format.shown import MARKER
from coatcheck.integrations.langgraph.sealed import Sealed

CLEAR: Final = (
    "source",
    "step",
    "parents",
    "run_id",
    "counters_since_delta_snapshot",
    "delta_writes_versioned",
)
"""Keys that savers themselves read: to list, to delete runs, and to know threads with a ``DeltaChannel``."""


class ClearKeys:
    """The keys of metadata that stay in the clear.

    Args:
        more: Keys beside :data:`CLEAR`.
    """

    def __init__(self, more: Collection[str]) -> None:
        self.keys = frozenset(CLEAR) | frozenset(more)

    def split(self, metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the part that stays in the clear, and the rest. Works for the conditions of a filter as well."""
        clear = {key: value for key, value in metadata.items() if key in self.keys}
        return clear, {key: value for key, value in metadata.items() if key not in self.keys}


def shown(sealed: Sealed) -> dict[str, str]:
    """Return the metadata that stands for the rest, as text: a saver may keep JSON."""
    return {MARKER: base64.urlsafe_b64encode(sealed.data).decode("ascii")}


def hidden(metadata: Mapping[str, Any]) -> Sealed | None:
    """Return the rest of a saver's metadata; None if there is none.

    Raises:
        FormatError: It is not from :func:`shown`.
    """
    text = metadata.get(MARKER)
    if text is None:
        return None
    try:
        return Sealed(base64.b64decode(text, b"-_", validate=True))
    except (TypeError, ValueError, binascii.Error):
        raise FormatError("sealed metadata is damaged", "Find out who wrote it.") from None


def matches(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return True if each key has the wanted value; None is wanted of a key that is not there."""
    return all(metadata.get(key) == value for key, value in wanted.items())
