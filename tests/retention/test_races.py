"""Writers against a sweeper that is deleting what they need, on the real S3 server: nothing is lost."""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from uuid import uuid4

from coatcheck import Store, StoredObject, StoreUnavailable
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.retention.rules import Action
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.sweep_marks import SWEEP_LEASE
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import LONG, Live, chain_on, scope_of, sweep_of
from tests.stores.s3_fixtures import NewStore

RACES = int(os.environ.get("COATCHECK_SWEEP_RACES", "30"))
_AT_ONCE = 100
_LATEST = 0.08
"""Seconds after the claim: by then the scope is gone."""
_EARLY = 0.7
"""Share of the writers that do not wait for the claim."""
_SWEEP = 1.0
"""Seconds: about as long as the sweep of all scopes takes."""


class Watched(Store):
    """The sweeper's way to the store: tells when a scope is claimed."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.claimed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def create(self, key: str, data: bytes) -> bool:
        prefix, is_lease, _ = key.partition(SWEEP_LEASE)
        if is_lease:
            self.claimed[prefix].set()
        return await self._inner.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        await self._inner.replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        return await self._inner.get(key, limit)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        async for entry in self._inner.list_objects(prefix):
            yield entry


def payloads(run: str) -> list[bytes]:
    source = random.Random(run)
    turns = [source.randbytes(800) for _ in range(4)]
    return [b"".join(turns[: count + 1]) for count in range(4)]


async def test_writers_against_a_sweeper(new_store: NewStore) -> None:
    seen: Counter[str] = Counter()
    for first in range(0, RACES, _AT_ONCE):
        store = AgedStore(new_store(prefix=f"races-{uuid4().hex}"))
        seen += await races(store, range(first, min(first + _AT_ONCE, RACES)))
    assert sum(seen.values()) == RACES
    print(f"{RACES} races: {dict(seen)}")  # noqa: T201 - the figure is wanted


async def races(store: AgedStore, numbers: range) -> Counter[str]:
    runs = [f"run-{number}" for number in numbers]
    writer = chain_on(store)
    for run in runs:
        await all_at_once(writer.encode(payload, scope_of(run)) for payload in payloads(run))
    await store.age(LONG)
    assert (await sweep_of(store, Live()).run()).of(Action.MARK).scopes == len(runs)
    await store.age(LONG)
    watched = Watched(store)
    sweeper = sweep_of(watched, Live())
    chances = random.Random(numbers.start)

    async def race(run: str) -> list[bytes]:
        scope = scope_of(run)
        (prefix,) = await sweeper._prefixes.of(scope)
        if chances.random() < _EARLY:
            # Before or after: scopes are claimed one after the other.
            await asyncio.sleep(chances.uniform(0, _SWEEP))
        else:
            await watched.claimed[prefix].wait()
            await asyncio.sleep(chances.uniform(0, _LATEST))
        chain = chain_on(store)
        while True:
            try:
                return [await chain.encode(payload, scope) for payload in payloads(run)]
            except StoreUnavailable as error:
                assert "swept" in str(error)  # noqa: PT017 - the engine would try again, and so does this
                await asyncio.sleep(0.01)

    writers = [asyncio.ensure_future(race(run)) for run in runs]
    await asyncio.sleep(0)
    report = await sweeper.run()
    for run, journals in zip(runs, await asyncio.gather(*writers), strict=True):
        chain = chain_on(store)
        assert await all_at_once(chain.decode(payload, scope_of(run)) for payload in journals) == payloads(
            run
        )
    await store.close()
    return Counter({str(verdict): tally.scopes for verdict, tally in report.tallies.items() if tally.scopes})
