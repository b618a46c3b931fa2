"""Names of objects and records in a store."""

import re
from typing import Final

from coatcheck.contracts.sealing import Sealer

_SCOPE: Final = re.compile(r"([0-9a-f]{32}/[0-9a-f]{32}/)([^/]+)")
_OBJECT: Final = re.compile(r"[0-9a-f]{64}")
_RECORD: Final = re.compile(r"[a-z]{1,12}-[0-9]{26}-[0-9a-f]{16}")


def scope_prefix(sealer: Sealer, run_tag: bytes) -> str:
    """Return the start of the keys of a scope's objects: the tenant's tag and the run's tag."""
    return f"{sealer.tenant_tag.hex()}/{run_tag.hex()}/"


def split(key: str) -> tuple[str, str] | None:
    """Return the scope's prefix and the name after it; None if the key is not in a scope."""
    found = _SCOPE.fullmatch(key)
    return (found[1], found[2]) if found else None


def is_object(name: str) -> bool:
    """Return True if it is the name of an object."""
    return _OBJECT.fullmatch(name) is not None


def is_record(name: str) -> bool:
    """Return True if it is the name of a record (:class:`~coatcheck.storage.records.Ledger`)."""
    return _RECORD.fullmatch(name) is not None
