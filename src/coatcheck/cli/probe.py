"""Tries a store out, with one object of its own that it removes again."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from coatcheck.contracts import Store
from coatcheck.errors import CoatcheckError, ConfigError, PayloadNotFound, StoreDenied
from coatcheck.storage.conditions import check_create_conditions

_T = TypeVar("_T")

_FOLDER = "coatcheck-probe/"
_SIZE = 4096
"""Bytes: a small payload."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one trial, in plain words."""

    case: str
    said: str
    fine: bool | None
    """None if it could not be found out."""
    milliseconds: float | None = None


class _Broken(Exception):  # noqa: N818 - it is a finding, not a mistake
    """The store did something that it promised not to do."""


class Probe:
    """Writes, reads, creates again, lists and deletes one object, and times each.

    However it ends (a failure, a cancellation), the object is removed; :attr:`left_behind` says if that failed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = secrets.token_bytes(_SIZE)
        self._may_be_there = False
        self.key = f"{_FOLDER}{secrets.token_hex(16)}"
        self.left_behind = ""
        """The key of the object, if it could not be removed."""

    async def run(self) -> list[Finding]:
        """The findings, in the order of the trials; it ends early where going on would tell nothing new."""
        trials: dict[str, Callable[[], Awaitable[str]]] = {
            "write": self._write,
            "read": self._read,
            "create-if-absent": self._create_again,
            "list": self._list,
            "delete": self._delete,
        }
        findings: list[Finding] = []
        try:
            for case, trial in trials.items():
                finding, go_on = await self._tried(case, trial)
                findings.append(finding)
                if not go_on:
                    break
        finally:
            await self._clean_up()
        return findings

    async def _tried(self, case: str, trial: Callable[[], Awaitable[str]]) -> tuple[Finding, bool]:
        started = time.perf_counter()
        fine, go_on = False, case != "write"
        try:
            said = await trial()
            fine = go_on = True
        except (_Broken, PayloadNotFound, StoreDenied) as error:
            said = str(error)
        except CoatcheckError as error:
            # A store that is away stays away.
            said, go_on = str(error), False
        except Exception as error:  # noqa: BLE001 - a foreign store may raise anything, and quote its password
            said, go_on = f"the store raises {type(error).__name__}, no error of coatcheck", False
        return Finding(case, said, fine, (time.perf_counter() - started) * 1000), go_on

    async def _write(self) -> str:
        self._may_be_there = True
        if not await self._whole(self._store.create(self.key, self._data)):
            raise _Broken("a create of an object that is not there says that it is there")
        return f"{_SIZE} bytes written under a new key"

    async def _read(self) -> str:
        if await self._store.get(self.key) != self._data:
            raise _Broken("what was read is not what was written")
        return "they come back byte for byte"

    async def _create_again(self) -> str:
        try:
            await check_create_conditions(self._store)
        except ConfigError as error:
            raise _Broken(str(error)) from error
        return (
            "of several creates of one object one is let through, and the object stays as that one wrote it"
        )

    async def _list(self) -> str:
        sizes = [found.size async for found in self._store.list_objects(self.key) if found.key == self.key]
        if sizes != [_SIZE]:
            raise _Broken(f"a listing shows sizes {sizes} for the object, where it should show [{_SIZE}]")
        return "the object is listed, once, with its size"

    async def _delete(self) -> str:
        await self._whole(self._store.delete(self.key))
        try:
            await self._store.get(self.key)
        except PayloadNotFound:
            self._may_be_there = False
            return "the object is gone, and said to be missing"
        except StoreDenied as error:
            self._may_be_there = False
            raise _Broken(
                "a missing object is reported as a denied one: allow listing, so that the two can be told apart"
            ) from error
        raise _Broken("the object is still there after it was deleted")

    async def _clean_up(self) -> None:
        if not self._may_be_there:
            return
        self.left_behind = self.key
        try:
            await self._whole(self._store.delete(self.key))
        except Exception:  # noqa: BLE001 - whatever it is, what counts is the object
            return
        self.left_behind = ""

    async def _whole(self, work: Awaitable[_T]) -> _T:
        """Await a change to its end also where the probe is cancelled: a late write would outlive the clean-up."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
