"""What an engine said, kept in the store while the parts of one sweep need it: an engine is asked once for all of them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Final

from coatcheck.contracts import TENANT_SCOPE_TAG, Store
from coatcheck.errors import FormatError
from coatcheck.retention.addresses import Addresses
from coatcheck.retention.index import Index
from coatcheck.retention.live import LiveScopes
from coatcheck.storage.access import DEFAULT_DEADLINE, retried

_FOLDER: Final = "sweep/live/"
_TAG: Final = len(TENANT_SCOPE_TAG)
_ENTRY: Final = 2 * _TAG
"""Bytes: the tenant's tag and the scope's."""


class RecordedScopes(LiveScopes):
    """What was recorded for one part of a sweep.

    Args:
        store: Where :func:`record` put it.
        sweep: Name of the sweep: segments of a key.
        part: Which part.
    """

    def __init__(self, store: Store, sweep: str, part: str) -> None:
        self._store = store
        self._key = _key(sweep, part)

    async def prefixes(self, addresses: Addresses) -> AsyncIterator[str]:  # noqa: ARG002 - they were looked up already
        """See :meth:`LiveScopes.prefixes`.

        Raises:
            PayloadNotFound: Nothing was recorded, or it was removed. An empty record would be there.
            FormatError: It is damaged.
            StoreError: The store cannot or will not give it.
        """
        data = await retried(lambda: self._store.get(self._key), DEFAULT_DEADLINE)
        if len(data) % _ENTRY:
            raise FormatError(
                "what is recorded of live scopes is damaged", "Begin the sweep anew.", self._key
            )
        for start in range(0, len(data), _ENTRY):
            tags = data[start : start + _TAG], data[start + _TAG : start + _ENTRY]
            yield "".join(f"{tag.hex()}/" for tag in tags)


def parts(digits: int) -> list[str]:
    """The first so many hexadecimal digits of a scope's tag: 16 parts for one, 256 for two."""
    return [f"{number:0{digits}x}" for number in range(16**digits)] if digits else [""]


async def record(index: Index, store: Store, sweep: str, digits: int) -> None:
    """Record the live scopes of an index for each of the :func:`parts`, also where there are none.

    Raises:
        StoreError: The store cannot or will not take it.
    """
    missing = set(parts(digits))
    for part, prefixes in groupby(index.live(), key=lambda prefix: _run_tag(prefix)[:digits]):
        await _write(store, sweep, part, prefixes)
        missing.remove(part)
    for part in sorted(missing):
        await _write(store, sweep, part, ())


async def forget(store: Store, sweep: str) -> None:
    """Remove what was recorded for a sweep, or under a name that begins with its and a slash.

    Raises:
        StoreError: The store cannot or will not do it.
    """
    await _remove(store, [entry.key async for entry in store.list_objects(f"{_FOLDER}{sweep}/")])


async def forget_older(store: Store, than: datetime) -> None:
    """Remove what sweeps have left that were ended from outside; raises as :func:`forget`."""
    await _remove(store, [entry.key async for entry in store.list_objects(_FOLDER) if entry.modified < than])


async def _write(store: Store, sweep: str, part: str, prefixes: Iterator[str] | Sequence[str]) -> None:
    data = b"".join(bytes.fromhex(prefix.replace("/", "")) for prefix in prefixes)
    await retried(lambda: store.replace(_key(sweep, part), data), DEFAULT_DEADLINE)


async def _remove(store: Store, keys: Sequence[str]) -> None:
    for key in keys:
        await retried(partial(store.delete, key), DEFAULT_DEADLINE)


def _run_tag(prefix: str) -> str:
    return prefix.split("/")[1]


def _key(sweep: str, part: str) -> str:
    return f"{_FOLDER}{sweep}/part-{part}"
