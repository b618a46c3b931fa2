"""The steps of a sweep, each of which can be repeated on any worker: all their state is in the store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError
from coatcheck.integrations.temporal.live_runs import TemporalRuns
from coatcheck.integrations.temporal.scopes import ENGINE
from coatcheck.integrations.temporal.sweep.options import ACT, ASK, FORGET, LOOK, Part, SweepOptions
from coatcheck.integrations.temporal.sweep.workflow import HEARTBEAT_TIMEOUT
from coatcheck.retention.index import Index
from coatcheck.retention.live_snapshot import RecordedScopes, forget, forget_older, record
from coatcheck.retention.origins import Origins
from coatcheck.retention.rate_limit import REQUEST_SECONDS, RateLimiter
from coatcheck.retention.sweep import Sweep, check_shown, clean_up, noted
from coatcheck.retention.tally import Report
from coatcheck.runtime.progress import Progress
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.store_time import store_time

_HEARTBEAT_EVERY: Final = HEARTBEAT_TIMEOUT.total_seconds() / 5


class SweepActivities:
    """Activities that a worker needs to run :class:`~coatcheck.integrations.temporal.sweep.SweepWorkflow`.

    Args:
        chain: The chain whose store is swept. It must have every key of the namespaces, as for reading payloads.
        client: Client of the server that is asked; the worker's own will do.
        requests_per_second: Limit on requests to the store, for all activities of this object together.

    Raises:
        ConfigError: The chain has no store, or the rate is not positive.
    """

    def __init__(self, chain: Chain, client: Client, *, requests_per_second: float = 1000) -> None:
        self._chain = chain
        self._client = client
        self._store = chain.store
        self._pace = RateLimiter(requests_per_second)

    @property
    def all(self) -> list[Callable[..., Any]]:
        """Activities, for the worker."""
        return [self.ask, self.look, self.act, self.forget]

    @activity.defn(name=ASK)
    async def ask(self, options: SweepOptions, sweep: str) -> datetime:
        """Record the scopes that the server still needs; return the time at which that began, by the store's clock.

        The server is asked before the partitions are listed. No scope is lost by that: one is deleted only if its mark is a
        grace older than the returned time, and if a listing after the claim shows that nothing was written there.
        """
        async with _at_work() as progress:
            rules = options.rules()
            addresses = ScopePrefixes(self._chain.sealings)
            runs = TemporalRuns(
                self._client,
                options.namespaces,
                archived=options.archived,
                callers_listed=options.callers_listed,
                no_runs=options.no_runs,
            )
            origins = Origins(StoreClient(self._store, REQUEST_SECONDS, self._pace), addresses, ENGINE)
            where = await runs.origins()
            await origins.check(where, moved=options.moved)
            begun = await store_time(self._store)
            await forget_older(self._store, begun - rules.grace)
            await clean_up(self._store, begun)
            with Index() as index:
                async for count in noted(runs, addresses, index):
                    progress("live scopes found", count)
                tenants = set(options.namespaces) - set(options.no_runs)
                await check_shown(index, self._store, addresses, ENGINE, tenants)
                if options.delete:
                    await origins.remember(where, options.namespaces)
                (place, *_) = await addresses.own_places(options.namespaces[0])
                await record(
                    index, self._store, ENGINE, place, sweep=_answer(sweep, begun), digits=options.digits
                )
            return begun

    @activity.defn(name=LOOK)
    async def look(self, part: Part) -> Report:
        """Return what a sweep would do in a partition."""
        async with _at_work() as progress:
            return await self._sweep(part, progress).look()

    @activity.defn(name=ACT)
    async def act(self, part: Part) -> Report:
        """Mark, spare and delete in a partition. The work of earlier attempts is seen in the store."""
        async with _at_work() as progress:
            return await self._sweep(part, progress).run()

    @activity.defn(name=FORGET)
    async def forget(self, sweep: str) -> None:
        """Remove the record of live scopes."""
        async with _at_work():
            await forget(self._store, sweep)

    def _sweep(self, part: Part, progress: Progress) -> Sweep:
        return Sweep(
            self._store,
            ScopePrefixes(self._chain.sealings),
            RecordedScopes(
                self._store, part.options.namespaces[0], _answer(part.sweep, part.begun), part.digits
            ),
            engine=ENGINE,
            tenants=tuple(part.options.namespaces),
            rules=part.options.rules(),
            max_share=1,  # that of all partitions together is what counts
            progress=progress,
            limiter=self._pace,
            part=part.digits,
            begun=part.begun,
        )


def _answer(sweep: str, begun: datetime) -> str:
    """Return the name of the record, which contains its time: an attempt believed dead may still write."""
    return f"{sweep}/{begun:%Y%m%dT%H%M%S.%f}"


@asynccontextmanager
async def _at_work() -> AsyncIterator[Progress]:
    """Send heartbeats with the figures of the work in the block, and raise its errors in Temporal's terms."""
    said: tuple[str, int] = ("begun", 0)

    def progress(what: str, count: int) -> None:
        nonlocal said
        said = what, count

    async def beat() -> None:
        while True:
            activity.heartbeat(*said)
            await asyncio.sleep(_HEARTBEAT_EVERY)

    beating = asyncio.ensure_future(beat())
    try:
        yield progress
    except CoatcheckError as error:
        raise ApplicationError(
            str(error), type=type(error).__name__, non_retryable=not error.retryable
        ) from None
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
