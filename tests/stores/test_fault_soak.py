"""The whole chain through a proxy that spoils requests, in front of the real S3 server.

``COATCHECK_SOAK_OPERATIONS=10000 pytest -n 0 --log-cli-level=INFO tests/stores/test_fault_soak.py`` for a long run.
"""

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from coatcheck import Chain, Encrypt, Keyring, Offload, PayloadCache, Scope, Zstd
from coatcheck.errors import CoatcheckError, FormatError, IntegrityError, PayloadNotFound, StoreUnavailable
from coatcheck.format.reference import Reference
from coatcheck.stores.s3 import S3Store
from tests.chains import KEY
from tests.engines.fault_proxy import Fault, FaultProxy, Request, seeded
from tests.stores.s3_fixtures import Bucket, session_of

OPERATIONS = int(os.environ.get("COATCHECK_SOAK_OPERATIONS", "600"))
CLIENTS = 16
SHARE = 0.25
"""Of all requests that are spoilt, outages aside."""
OUTAGE_EVERY, OUTAGE = 800, 200
"""Requests. Long enough that calls meet their deadline: errors are part of what is tried."""
SILENT_EVERY = 150
"""Requests."""
DEADLINE = 2.0
LONGEST = 2 * DEADLINE + 4.0
"""Seconds. An operation is at most two calls of the store in a row; the rest is for a busy machine."""

_log = logging.getLogger(__name__)


class _Weather:
    """Plans faults by ``seeded``, with outages and requests that nobody answers, and counts them."""

    def __init__(self, seed: int) -> None:
        self._usual = seeded(seed, SHARE)
        self._requests = 0
        self.counts: Counter[Fault] = Counter()

    def __call__(self, request: Request) -> Fault:
        self._requests += 1
        fault = self._usual(request)
        if self._requests % OUTAGE_EVERY >= OUTAGE_EVERY - OUTAGE:
            fault = Fault.RESET if self._requests % 2 else Fault.BUSY
        elif self._requests % SILENT_EVERY == 0:
            fault = Fault.SILENT
        self.counts[fault] += 1
        return fault


class _StaysOpen(S3Store):
    """One client for all chains, which come and go."""

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Ticket:
    payload: bytes
    reference: bytes


@dataclass(slots=True)
class _Tally:
    operations: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0


class _Client:
    """Does one operation after the other in a scope of its own, so that it knows what each must answer."""

    def __init__(self, number: int, store: S3Store, tally: _Tally) -> None:
        self.scope = Scope("tenant", f"run-{number}")
        self.kept: list[_Ticket] = []
        self._deleted: list[_Ticket] = []
        self._draw = random.Random(number)
        self._store = store
        self._chain = _chain(store)
        self._tally = tally

    async def work(self, operations: int) -> None:
        clock = asyncio.get_running_loop().time
        for _ in range(operations):
            operation = self._next()
            started = clock()
            try:
                async with asyncio.timeout(10 * LONGEST):
                    await operation()
            except CoatcheckError as error:
                self._tally.errors[type(error).__name__] += 1
            self._tally.longest = max(self._tally.longest, clock() - started)
            self._tally.operations[operation.__name__.strip("_")] += 1
        await self._chain.close()

    def _next(self) -> Callable[[], Awaitable[None]]:
        if not self.kept:
            return self._encode_new
        return self._draw.choices(
            [self._encode_new, self._encode_again, self._encode_deleted, self._decode, self._delete],
            [30, 20, 5 if self._deleted else 0, 35, 10],
        )[0]

    async def _encode_new(self) -> None:
        size = self._draw.choice([400, 4_000, 40_000, 150_000])
        payload = self._draw.randbytes(size).hex().encode()
        self.kept.append(_Ticket(payload, await self._chain.encode(payload, self.scope)))

    async def _encode_again(self) -> None:
        ticket = self._draw.choice(self.kept)
        async with _chain(self._store) as fresh:
            self._expect(
                await fresh.encode(ticket.payload, self.scope), ticket.reference, "another reference"
            )

    async def _encode_deleted(self) -> None:
        ticket = self._deleted.pop()
        async with _chain(self._store) as fresh:
            self._expect(
                await fresh.encode(ticket.payload, self.scope), ticket.reference, "another reference"
            )
        self.kept.append(ticket)

    async def _decode(self) -> None:
        ticket = self._draw.choice(self.kept)
        if self._draw.random() < 0.5:
            self._expect(
                await self._chain.decode(ticket.reference, self.scope), ticket.payload, "other bytes"
            )
            return
        async with _chain(self._store) as fresh:
            self._expect(await fresh.decode(ticket.reference, self.scope), ticket.payload, "other bytes")

    async def _delete(self) -> None:
        """A delete that raises may have been done: nothing is asked of that object again."""
        ticket = self.kept.pop(self._draw.randrange(len(self.kept)))
        await self._store.delete(_key(ticket.reference, self.scope))
        self._deleted.append(ticket)
        async with _chain(self._store) as fresh:
            try:
                await fresh.decode(ticket.reference, self.scope)
            except PayloadNotFound:
                return
            self._tally.wrong.append("a payload that was deleted")

    def _expect(self, got: bytes, right: bytes, otherwise: str) -> None:
        if got != right:
            self._tally.wrong.append(otherwise)


def _chain(store: S3Store) -> Chain:
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=256, deadline=DEADLINE), cache=PayloadCache(0)
    )


def _key(reference_bytes: bytes, scope: Scope) -> str:
    reference = Reference.from_bytes(reference_bytes)
    sealer = Encrypt(Keyring(KEY)).sealer(scope.tenant, reference.run_tag, reference.key_id)
    return f"{sealer.tenant_tag.hex()}/{reference.run_tag.hex()}/{reference.object_id.hex()}"


def _store(bucket: Bucket, endpoint: str) -> _StaysOpen:
    session = session_of(bucket.server.access_key, bucket.server.secret_key)
    return _StaysOpen(bucket.name, "soak", session=session, endpoint_url=endpoint, timeout=1.0)


@pytest.mark.long
async def test_nothing_wrong_and_nothing_lost_under_faults(bucket: Bucket) -> None:
    tally, weather = _Tally(), _Weather(seed=3)
    clock = asyncio.get_running_loop().time
    started = clock()
    async with FaultProxy(bucket.server.endpoint, weather) as proxy:
        store = _store(bucket, proxy.endpoint)
        clients = [_Client(number, store, tally) for number in range(CLIENTS)]
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(client.work(len(range(number, OPERATIONS, CLIENTS))))
            group.create_task(_forget_bodies(proxy, tally))
    wall = clock() - started

    missing = kept = 0
    direct = _store(bucket, bucket.server.endpoint)
    for client in clients:
        async with _chain(direct) as fresh:
            for ticket in client.kept:
                kept += 1
                try:
                    missing += await fresh.decode(ticket.reference, client.scope) != ticket.payload
                except PayloadNotFound:
                    missing += 1
    _log.info("%d operations in %.1f s: %s", tally.operations.total(), wall, dict(tally.operations))
    _log.info("%d requests: %s", weather.counts.total(), {f.name: n for f, n in weather.counts.items()})
    _log.info("wrong %s, missing %d of %d kept", tally.wrong, missing, kept)
    _log.info("errors %s, longest operation %.2f s", dict(tally.errors), tally.longest)

    assert tally.wrong == []
    assert missing == 0
    assert tally.operations.total() == OPERATIONS
    assert tally.longest < LONGEST
    # Bytes that were damaged on their way twice in a row are the two others.
    assert set(tally.errors) <= {kind.__name__ for kind in (StoreUnavailable, IntegrityError, FormatError)}
    # Retries carry all but the outages.
    assert tally.errors.total() < OPERATIONS / 4
    if OPERATIONS >= 600:
        assert set(weather.counts) == set(Fault)


async def _forget_bodies(proxy: FaultProxy, tally: _Tally) -> None:
    """The proxy keeps every request for ever, which a long run has no room for."""
    while tally.operations.total() < OPERATIONS:
        proxy.record.clear()
        await asyncio.sleep(0.2)
