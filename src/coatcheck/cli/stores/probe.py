"""A trial of a store with temporary objects."""

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError, ConfigError, LimitExceeded, PayloadNotFound, StoreDenied
from coatcheck.storage.conditions import check_create_conditions

_T = TypeVar("_T")

_FOLDER: Final = "coatcheck-probe/"
_SIZE: Final = 4096
"""Bytes: a small payload."""
_LARGE: Final = 16 << 20
"""Bytes: above the common limits of gateways and proxies."""
_PAGE: Final = 1000
"""Objects that a bucket lists in one request."""
_TIMES: Final = 5
"""Calls of each kind; the median is reported."""
_IN_ORDER: Final = ("first-1/a", "first.2", "first/b")
"""Keys that a service would list in another order if it listed by folders."""
_STRIKES: Final = 2
"""Trials in a row without an answer after which the store counts as down."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one trial, in plain words."""

    case: str
    said: str
    fine: bool | None
    """None if it is unknown."""
    milliseconds: float | None = None
    """Time of one call, the median of several."""


class _Broken(Exception):  # noqa: N818 - it is a finding, not a fault of ours
    """The store broke a promise."""


class _Untried(Exception):  # noqa: N818 - it is a finding, not a fault of ours
    """The trial lacks an object to work on."""


_ANSWERED: Final = (_Broken, _Untried, PayloadNotFound, StoreDenied, LimitExceeded)
"""Errors that prove that the store answers."""


class Probe:
    """A trial that makes and times every kind of call that coatcheck makes. The very first call is reported by itself.

    Its objects are removed however it ends, also by a failure or a cancellation; :attr:`left_behind` lists those that
    were not. For one event loop.

    Args:
        store: The store to try.
        read_only: Neither write nor delete, for credentials without these rights, such as a codec server's.
    """

    def __init__(self, store: Store, *, read_only: bool = False) -> None:
        self._store = store
        self._read_only = read_only
        self._data = secrets.token_bytes(_SIZE)
        self._folder = f"{_FOLDER}{secrets.token_hex(16)}/"
        self._keys = [f"{self._folder}{number}" for number in range(_TIMES)]
        self._maybe_there: set[str] = set()
        self._wrote = self._deleted = False
        self._calls: list[float] = []
        self.left_behind: list[str] = []
        """The keys of objects that could not be removed."""

    async def run(self) -> list[Finding]:
        """Run the trials and return the findings in order. Stop early if the store no longer answers."""
        findings: list[Finding] = []
        strikes = 0
        try:
            for case, trial in self._trials().items():
                finding, answered = await self._tried(case, trial)
                findings.append(finding)
                strikes = 0 if answered else strikes + 1
                if strikes == _STRIKES:
                    break
        finally:
            await self._whole(self._clean_up())
        return findings

    def _trials(self) -> dict[str, Callable[[], Awaitable[str]]]:
        if self._read_only:
            return {"missing": self._missing, "list": self._list_any, "read": self._read_any}
        return {
            "missing": self._missing,
            "write": self._write,
            "read": self._read,
            "create-if-absent": self._create_again,
            "replace": self._replace,
            "large": self._large,
            "list": self._list,
            "order": self._order,
            "delete": self._delete,
            "after-delete": self._create_after_delete,
            "race": self._race,
        }

    async def _tried(self, case: str, trial: Callable[[], Awaitable[str]]) -> tuple[Finding, bool]:
        self._calls = []
        fine: bool | None = False
        answered = False
        try:
            said, fine, answered = await trial(), True, True
        except _Untried as untried:
            said, fine, answered = f"not tried: {untried}", None, True
        except _ANSWERED as error:
            said, answered = str(error), True
        except CoatcheckError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - a foreign store may raise anything, and quote its password
            said = f"the store raises {type(error).__name__}, which is not a coatcheck error"
        took = statistics.median(self._calls) * 1000 if self._calls else None
        return Finding(case, said, fine, took), answered

    async def _missing(self) -> str:
        try:
            await self._timed(self._store.get(self._keys[0]))
        except PayloadNotFound:
            return "a missing object is reported as missing (first call, includes sign-in and connecting)"
        except StoreDenied as error:
            raise _Broken(
                f"a missing object is reported as access denied: allow listing, so that the service can tell them apart ({error})"
            ) from error
        raise _Broken("the store returns an object that nobody wrote")

    async def _write(self) -> str:
        for key in self._keys:
            if not await self._create(key, self._data):
                raise _Broken("creating a new object reports that it already exists")
        return f"{_TIMES} objects of {_SIZE} bytes written under new keys"

    async def _read(self) -> str:
        for key in self._written():
            if await self._timed(self._store.get(key)) != self._data:
                raise _Broken("the data read differs from the data written")
        return "the objects are read back byte for byte"

    async def _create_again(self) -> str:
        key = self._written()[0]
        created = await self._create(key, self._data[::-1])
        if created or await self._store.get(key) != self._data:
            raise _Broken(
                "a second create of the same object succeeds: the service ignores the condition, "
                "so writers would overwrite each other"
            )
        return "a second create is refused, and the object is unchanged"

    async def _replace(self) -> str:
        for key in self._written():
            await self._timed(self._whole(self._store.replace(key, self._data[::-1])))
            if await self._store.get(key) != self._data[::-1]:
                raise _Broken("the data read after a replacement differs from the data written")
        return "the objects are replaced"

    async def _large(self) -> str:
        self._written()
        key, data = f"{self._folder}large", secrets.token_bytes(_LARGE)
        if not await self._create(key, data):
            raise _Broken("creating a new object reports that it already exists")
        if await self._timed(self._store.get(key, _LARGE)) != data:
            raise _Broken("the data read differs from the data written")
        speeds = (f"{_LARGE / seconds / 1e6:.0f} MB/s" for seconds in self._calls)
        return f"{_LARGE >> 20} MiB are written and read back, at {' and '.join(speeds)}"

    async def _list(self) -> str:
        keys = self._written()
        for _ in range(_TIMES):
            found = await self._timed(self._listed())
            sizes = [found.get(key, []) for key in keys]
            if sizes != [[_SIZE]] * len(keys):
                raise _Broken(
                    f"a listing shows the sizes {sizes} for {len(keys)} objects; expected [{_SIZE}] for each"
                )
        return "each object is listed once, with its size"

    async def _order(self) -> str:
        self._written()
        expected = [self._folder + name for name in _IN_ORDER]
        for key in reversed(expected):
            await self._create(key, b"")
        self._calls = []
        for count in range(1, len(expected) + 1):
            first = await self._timed(self._store.list_first(f"{self._folder}first", count))
            if [found.key for found in first] != expected[:count]:
                raise _Broken("the first objects of a listing are not the first by key")
        return "the first objects by key are found"

    async def _delete(self) -> str:
        # Also if nothing was written: the call shows whether these credentials may delete.
        keys = self._keys if self._maybe_there.issuperset(self._keys) else self._keys[:1]
        for key in keys:
            await self._timed(self._whole(self._store.delete(key)))
        for key in keys:
            try:
                await self._store.get(key, _SIZE)
            except PayloadNotFound:
                self._maybe_there.discard(key)
            except StoreDenied:
                # The first trial has reported that missing objects look like this.
                self._maybe_there.discard(key)
            else:
                raise _Broken("a deleted object is still there")
        self._deleted = keys is self._keys
        return "deleted objects are gone"

    async def _create_after_delete(self) -> str:
        key = self._keys[0]
        if not self._deleted:
            raise _Untried("nothing was deleted")
        if not await self._create(key, self._data):
            raise _Broken("a deleted object cannot be created again: the service reports that it exists")
        if await self._store.get(key) != self._data:
            raise _Broken("an object created after a delete differs from the data written")
        return "a deleted object can be created again"

    async def _race(self) -> str:
        if not self._deleted:
            raise _Untried("nothing was deleted")
        try:
            await self._timed(check_create_conditions(self._store))
        except ConfigError as error:
            raise _Broken(str(error)) from error
        return "exactly one of several concurrent creates succeeds"

    async def _list_any(self) -> str:
        counts = {len(await self._timed(self._store.list_first("", _PAGE))) for _ in range(_TIMES)}
        return f"{max(counts)} objects are listed" + (", and there are more" if max(counts) == _PAGE else "")

    async def _read_any(self) -> str:
        found = [entry for entry in await self._store.list_first("", _PAGE) if entry.size <= _LARGE]
        if not found:
            raise _Untried("there is no object to read")
        key, size, _ = found[0]
        sizes = {len(await self._timed(self._store.get(key, _LARGE))) for _ in range(_TIMES)}
        if sizes != {size}:
            raise _Broken(f"an object is listed with {size} bytes but has {' and '.join(map(str, sizes))}")
        return f"an object of {size} bytes is read"

    async def _listed(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        async for entry in self._store.list_objects(self._folder):
            found.setdefault(entry.key, []).append(entry.size)
        return found

    def _written(self) -> list[str]:
        if not self._maybe_there.issuperset(self._keys):
            raise _Untried("nothing could be written")
        return self._keys

    async def _create(self, key: str, data: bytes) -> bool:
        was_there = key in self._maybe_there
        self._maybe_there.add(key)
        self._wrote = True
        try:
            return await self._timed(self._whole(self._store.create(key, data)))
        except (StoreDenied, ConfigError, LimitExceeded):
            # Refused, so it does not exist and needs no clean-up.
            if not was_there:
                self._maybe_there.discard(key)
            raise

    async def _timed(self, work: Awaitable[_T]) -> _T:
        started = time.perf_counter()
        try:
            return await work
        finally:
            self._calls.append(time.perf_counter() - started)

    async def _clean_up(self) -> None:
        for key in sorted(self._maybe_there):
            try:
                await self._store.delete(key)
            except Exception:  # noqa: BLE001 - only the object matters
                if await self._is_there(key):
                    self.left_behind.append(key)
        if self._wrote:
            # If the bucket keeps versions and these credentials may delete them: each check leaves 16 MiB.
            with suppress(Exception):
                await self._store.delete_versions(self._folder)

    async def _is_there(self, key: str) -> bool:
        """Return True if the object is there or may be there."""
        try:
            await self._store.get(key, _LARGE)
        except PayloadNotFound:
            return False
        except Exception:  # noqa: BLE001 - it may be there
            return True
        return True

    async def _whole(self, work: Awaitable[_T]) -> _T:
        """Await a change to its end even if the probe is cancelled: a late write would outlive the clean-up."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
