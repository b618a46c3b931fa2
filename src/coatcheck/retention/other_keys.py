"""Runs of checkpoints that continue under another key: after a rotation, a run has one scope for each key."""

from collections.abc import AsyncIterator
from datetime import datetime

from coatcheck.checkpoints.checkpoints import Checkpoint
from coatcheck.contracts.store import Store
from coatcheck.errors import FormatError, IntegrityError, PayloadNotFound
from coatcheck.retention.index import Index
from coatcheck.retention.rate_limit import REQUEST_SECONDS
from coatcheck.retention.rules import RetentionRules
from coatcheck.scope import Scope
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import Limiter
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.records import Records


class OtherKeys:
    """Finds scopes that are old, but whose run is young under another key. For one task.

    Args:
        store: The store with the records.
        prefixes: The prefixes of the tenants.
        engine: The engine of the scopes.
        rules: Say how old a run may become.
        limiter: Admits each request.
    """

    def __init__(
        self, store: Store, prefixes: ScopePrefixes, engine: str, rules: RetentionRules, limiter: Limiter
    ) -> None:
        self._client = StoreClient(store, REQUEST_SECONDS, limiter)
        self._prefixes = prefixes
        self._engine = engine
        self._rules = rules

    async def young(self, index: Index, now: datetime) -> AsyncIterator[str]:
        """Yield the prefixes of old scopes whose run has a young scope. One small request for each old scope, if any.

        A scope whose newest record cannot be read is judged by its own age.

        Args:
            index: The listed scopes.
            now: The time by the store's clock.

        Raises:
            KeyUnavailable: A key of a tenant cannot be loaded.
            StoreError: The store cannot or will not return a record.
        """
        async for facts, _ in index.scopes():
            if not facts.records or facts.newest is None or not self._rules.is_idle(facts.newest, now):
                continue
            tenant = self._prefixes.tenant_at(facts.prefix)
            if len(await self._prefixes.of_tenant(tenant)) > 1 and await self._is_young(
                index, tenant, facts.prefix, now
            ):
                yield facts.prefix

    async def _is_young(self, index: Index, tenant: str, prefix: str, now: datetime) -> bool:
        records = Records(self._client, await self._prefixes.sealer_at(prefix))
        try:
            (entry,) = await records.newest(1)
            run = Checkpoint.from_record(entry, await records.get(entry)).run
        except (FormatError, IntegrityError, PayloadNotFound, ValueError):
            return False
        for other in await self._prefixes.of(Scope(tenant, run, engine=self._engine)):
            newest = index.newest(other)
            if newest is not None and not self._rules.is_idle(newest, now):
                return True
        return False
