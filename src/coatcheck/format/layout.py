"""Names of objects and records in a store."""

import re
from typing import Final

from coatcheck.contracts.sealing import Sealer

_SCOPE: Final = re.compile(r"([0-9a-f]{32}/[0-9a-f]{32}/)([^/]+)")
_OBJECT: Final = re.compile(r"[0-9a-f]{64}")
_RECORD: Final = re.compile(r"[a-z]{1,12}-[0-9]{26}-[0-9a-f]{16}")


def scope_prefix(sealer: Sealer, run_tag: bytes) -> str:
    """What the keys of a scope's objects start with."""
    return f"{sealer.tenant_tag.hex()}/{run_tag.hex()}/"


def split(key: str) -> tuple[str, str] | None:
    """The scope's prefix and the name in it; None for a key that is none of a scope's."""
    found = _SCOPE.fullmatch(key)
    return (found[1], found[2]) if found else None


def is_object(name: str) -> bool:
    """Whether it is an object's."""
    return _OBJECT.fullmatch(name) is not None


def is_record(name: str) -> bool:
    """Whether it is what :class:`~coatcheck.storage.records.Ledger` calls something."""
    return _RECORD.fullmatch(name) is not None
