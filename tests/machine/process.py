"""One process: a chain with memory of its own, its ways to the stores, and copies on its own disk."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from coatcheck import CachedStore, FallbackStore, Store
from coatcheck.errors import CoatcheckError
from tests.machine.adapter import (
    Place,
    Shown,
    chain_on,
    checkpoint_sweep_of,
    checkpoints_of,
    scope_of,
    sweep_of,
)
from tests.machine.door import Door, Fault, Mishap

Kind = Literal["plain", "cached", "fallback", "both"]
ROOMY: Final = 2**20
TINY: Final = 8192
"""Bytes of the cache: room for two or three payloads."""
skew: ContextVar[timedelta] = ContextVar("skew", default=timedelta())
"""By how much the calendar of the process that runs is wrong."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a process is set up."""

    kind: Kind = "plain"
    primary: int = 0
    """Which key seals what is new."""
    skew: timedelta = timedelta()
    cache: int = ROOMY
    deadline: float = 8.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: a value, or an error in words."""

    value: Any = None
    error: str = ""
    retryable: bool = False
    said: str = ""


class Process:
    """Its methods take and give plain data, so that it makes no difference whose process it is."""

    def __init__(self, setting: Setting, shared: Store, replica: Store, folder: Path) -> None:
        self._setting = setting
        self.door = Door(shared, patience=4 * setting.deadline)
        store: Store = self.door
        if setting.kind in ("fallback", "both"):
            store = FallbackStore(store, replica)
        if setting.kind in ("cached", "both"):
            store = CachedStore(store, folder)
        self.chain = chain_on(store, setting.primary, setting.cache, setting.deadline)

    async def call(self, name: str, args: tuple[Any, ...]) -> Answer:
        """Do one thing; an error of coatcheck is an answer, any other is none."""
        skew.set(self._setting.skew)
        try:
            return Answer(await getattr(self, name)(*args))
        except CoatcheckError as error:
            return Answer(None, type(error).__name__, error.retryable, str(error))

    async def encode(self, place: Place, data: bytes) -> bytes:
        return await self.chain.encode(data, scope_of(place))

    async def open(self, place: Place, encoded: bytes) -> bytes:
        return await self.chain.open(encoded, scope_of(place))

    async def replay(self, place: Place, journal: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Each payload of a journal, and what it is encoded as now."""
        scope = scope_of(place)
        await self.chain.replaying(scope)
        done = []
        for encoded in journal:
            data = await self.chain.open(encoded, scope)
            done.append((data, await self.chain.encode(data, scope)))
        return done

    async def trigger(self, place: Place, inputs: Sequence[bytes], data: bytes) -> bytes:
        """A run reads what it was given, and gives something back."""
        for encoded in inputs:
            await self.open(place, encoded)
        return await self.encode(place, data)

    async def save(self, run: str, step: int, state: bytes) -> bytes:
        return (await checkpoints_of(self.chain, run).save(state, step)).to_bytes()

    async def restore(self, run: str) -> bytes:
        """The latest state."""
        state: bytes = await checkpoints_of(self.chain, run).read()
        return state

    async def history(self, run: str) -> tuple[bytes | None, list[bytes]]:
        """References of the latest checkpoint, and of all."""
        checkpoints = checkpoints_of(self.chain, run)
        latest = await checkpoints.latest()
        references = [one.reference.to_bytes() async for one in checkpoints.history()]
        return None if latest is None else latest.reference.to_bytes(), references

    async def sweep(self, engine: str, cluster: str, shown: Shown, careful: bool) -> tuple[int, bool]:
        """Objects that it deleted, and whether it found anything: then the store remembers the cluster."""
        report = await sweep_of(self.chain, engine, cluster, shown, careful=careful).run()
        return report.deleted, bool(report.found)

    async def sweep_checkpoints(self, keep_days: int | None, keep_last: int) -> tuple[int, bool]:
        report = await checkpoint_sweep_of(self.chain, keep_days, keep_last).run()
        return report.deleted, bool(report.found)

    async def fault(self, operation: str, mishap: Mishap, times: int, skip: int) -> None:
        self.door.faults.append(Fault(operation, mishap, times, skip))

    async def calm(self) -> None:
        self.door.faults.clear()

    async def arrive(self) -> None:
        await self.door.arrive()

    async def evict(self) -> None:
        self.chain.cache.clear()

    async def close(self) -> None:
        await self.chain.close()
