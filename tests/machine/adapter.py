"""All that the machine knows of how coatcheck spells things: scopes, chains, sweeps, and what a store can do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import cache
from typing import Final, NamedTuple, TypeVar

from coatcheck import Chain, Checkpoints, Encrypt, Key, Keyring, Offload, PayloadCache, Scope, Store, Zstd
from coatcheck.contracts.store import DEFAULT_LIMIT, StoredObject
from coatcheck.format.reference import Reference
from coatcheck.retention.live import LiveRuns, Origin, RunTag, Series
from coatcheck.retention.rules import RetentionRules
from coatcheck.retention.sweep import DEFAULT_MAX_SHARE, Sweep
from coatcheck.storage.prefixes import ScopePrefixes

_T = TypeVar("_T")

TENANT: Final = "tenant"
ENGINES: Final = ("temporal", "restate")
GRACE: Final = timedelta(days=7)
OVER: Final = 256
"""Bytes above which a payload becomes an object."""
_ZSTD: Final = Zstd()
KEYS: Final = tuple(Key(bytes([number]) * 32) for number in range(1, 4))


class Place(NamedTuple):
    """Whose payload it is: plain data, so that it can be sent to another process."""

    engine: str = ""
    run: str | None = None
    """None for the tenant's own scope."""
    series: str | None = None


class Shown(NamedTuple):
    """What an engine shows when it is asked: plain data, too."""

    runs: tuple[Place, ...] = ()
    references: tuple[bytes, ...] = ()
    """Found in the histories of those."""
    series: tuple[str, ...] = ()
    """Schedules that exist."""


class Passing(Store):
    """Passes every call on to an inner store; what happens on the way is decided in one method."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    async def on_the_way(self, operation: str, key: str, call: Callable[[], Awaitable[_T]]) -> _T:
        return await call()

    async def create(self, key: str, data: bytes) -> bool:
        return await self.on_the_way("create", key, lambda: self.inner.create(key, data))

    async def replace(self, key: str, data: bytes) -> None:
        await self.on_the_way("replace", key, lambda: self.inner.replace(key, data))

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        return await self.on_the_way("get", key, lambda: self.inner.get(key, limit))

    async def delete(self, key: str) -> None:
        await self.on_the_way("delete", key, lambda: self.inner.delete(key))

    async def delete_versions(self, prefix: str) -> None:
        await self.inner.delete_versions(prefix)

    async def forget(self, key: str) -> None:
        await self.inner.forget(key)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        async def listed() -> list[StoredObject]:
            return [entry async for entry in self.inner.list_objects(prefix)]

        for entry in await self.on_the_way("list", prefix, listed):
            yield entry

    async def close(self) -> None:
        await self.inner.close()


async def read(store: Store, key: str) -> bytes:
    return await store.get(key)


def chain_on(store: Store, primary: int, cache_size: int, deadline: float) -> Chain:
    """All keys can be opened with; new payloads are sealed under one of them."""
    return Chain(
        _ZSTD,
        _sealing(primary),
        Offload(store, over=OVER, deadline=deadline),
        cache=PayloadCache(cache_size),
    )


@cache
def _sealing(primary: int) -> Encrypt:
    first = KEYS[primary % len(KEYS)]
    return Encrypt(Keyring(first, *(key for key in KEYS if key is not first)))


def scope_of(place: Place) -> Scope:
    return Scope(TENANT, place.run, place.series, place.engine)


def checkpoints_of(chain: Chain, run: str) -> Checkpoints:
    return Checkpoints(chain, run=run, tenant=TENANT)


class _Engine(LiveRuns):
    tenants = (TENANT,)

    def __init__(self, engine: str, cluster: str, shown: Shown) -> None:
        self.engine = engine
        self._cluster = cluster
        self._shown = shown

    async def origins(self) -> dict[str, Origin]:
        return {TENANT: Origin(self._cluster, TENANT)}

    async def scopes(self) -> AsyncIterator[Scope | RunTag | Series]:
        for place in self._shown.runs:
            yield scope_of(place)
        for reference in self._shown.references:
            yield RunTag(Reference.from_bytes(reference).run_tag)
        for name in self._shown.series:
            yield Series(TENANT, name)


def sweep_of(chain: Chain, engine: str, cluster: str, shown: Shown, *, careful: bool) -> Sweep:
    """What an operator runs for an engine: ``careful`` by default, or one who allows all of it to be swept."""
    return Sweep(
        chain.store,
        ScopePrefixes(chain.sealings),
        _Engine(engine, cluster, shown),
        engine=engine,
        tenants=(TENANT,),
        rules=RetentionRules(grace=GRACE, idle=GRACE),
        max_share=DEFAULT_MAX_SHARE if careful else 1,
        no_runs=() if careful else (TENANT,),
    )


def checkpoint_sweep_of(chain: Chain, keep_days: int | None, keep_last: int) -> Sweep:
    """What an operator runs for checkpoints."""
    idle = timedelta(days=keep_days) if keep_days is not None else None
    return Sweep(
        chain.store,
        ScopePrefixes(chain.sealings),
        None,
        engine="checkpoints",
        tenants=(TENANT,),
        rules=RetentionRules(grace=GRACE, idle=idle, keep_last=keep_last),
        max_share=1,
    )


async def kept_by(chain: Chain, engine: str, shown: Shown) -> tuple[str, ...]:
    """What the keys of all begin with that may stay while an engine shows this."""
    return tuple(
        [prefix async for prefix in _Engine(engine, "", shown).prefixes(ScopePrefixes(chain.sealings))]
    )
