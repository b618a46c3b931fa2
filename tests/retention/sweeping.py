"""Sweeps, and who is asked what is live, for tests."""

from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

from coatcheck import Chain, Encrypt, Key, Keyring, Offload, PayloadCache, Scope, Store, Zstd
from coatcheck.retention.addresses import Addresses
from coatcheck.retention.live import LiveRuns
from coatcheck.retention.report import Report
from coatcheck.retention.sweep import Sweep
from coatcheck.retention.verdict import Rules
from tests.retention.aged_store import AgedStore

TENANT = "tenant"
GRACE = timedelta(days=7)
LONG = timedelta(days=8)
RULES = Rules(grace=GRACE, idle=GRACE)
KEY = Key(bytes(range(32)))
PATIENCE = 60.0
"""Seconds: a server that has just begun to make room for a bucket keeps many writers waiting."""


class Live(LiveRuns):
    """Knows what it is told."""

    tenants = (TENANT,)

    def __init__(self, *runs: str) -> None:
        self.runs = list(runs)

    async def scopes(self) -> AsyncIterator[Scope]:
        for run in self.runs:
            yield Scope(TENANT, run)


def chain_on(store: Store, keyring: Keyring | None = None) -> Chain:
    """A chain that has nothing in memory."""
    return Chain(
        Zstd(),
        Encrypt(keyring or Keyring(KEY)),
        Offload(store, over=256, deadline=PATIENCE),
        cache=PayloadCache(2**22),
    )


def sweep_of(
    store: Store,
    live: LiveRuns | None,
    *,
    rules: Rules = RULES,
    tenants: tuple[str, ...] = (TENANT,),
    keyring: Keyring | None = None,
    max_share: float = 1,
) -> Sweep:
    """A sweep that minds no share."""
    addresses = Addresses(chain_on(store, keyring).sealings)
    return Sweep(store, addresses, live, tenants=tenants, rules=rules, max_share=max_share)


async def swept_twice(sweep: Sweep, store: AgedStore) -> Report:
    """Once to mark and once to delete, each when everything is older than the grace; what the second one did."""
    await store.age(LONG)
    await sweep.run()
    await store.age(LONG)
    return await sweep.run()


async def keys_of(store: Store, prefixes: Iterable[str] = ("",)) -> list[str]:
    """Every key below ``prefixes``."""
    return [entry.key for prefix in prefixes async for entry in store.list_objects(prefix)]
