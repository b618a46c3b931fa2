"""Records of the clusters and namespaces that a store was swept for, sealed under the tenants' keys."""

import json
from collections.abc import Collection, Mapping

from coatcheck.errors import ConfigError, FormatError, IntegrityError, LimitExceeded, PayloadNotFound
from coatcheck.format.suites import ScopeSealer
from coatcheck.retention.live import Origin
from coatcheck.scope import engine_code
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sealed_records import open_record, seal_record

_LIMIT = 4096
"""Bytes of a record, and many to spare."""
_TODO = (
    "Nothing was done. Check the server, the namespace, the store and the keys. If the engine was moved on purpose, say so "
    "once: --moved."
)


class Origins:
    """Compares where an engine's runs are with where they were before. For one task.

    Args:
        client: To the store.
        prefixes: Of its tenants.
        engine: Of whose runs.
    """

    def __init__(self, client: StoreClient, prefixes: ScopePrefixes, engine: str) -> None:
        self._client = client
        self._prefixes = prefixes
        self._engine = engine
        self._name = f"sweep-origin-{engine_code(engine):02x}"

    async def check(self, origins: Mapping[str, Origin], *, moved: bool) -> set[str]:
        """See that the store was swept for no other place before, and return the tenants that it was swept for.

        Args:
            origins: Where the runs of each tenant are.
            moved: Another place is right.

        Raises:
            ConfigError: It was, or what it remembers is not authentic.
            KeyUnavailable: A key of a tenant cannot be had.
            StoreError: The store cannot or will not say.
        """
        known = set()
        for tenant, origin in origins.items():
            for place in await self._prefixes.own_places(tenant):
                before = await self._read(place, moved=moved)
                if before is None:
                    continue
                known.add(tenant)
                if not moved:
                    self._compare(tenant, Origin(before["cluster"], before["namespace"]), origin)
        return known

    async def remember(self, origins: Mapping[str, Origin], tenants: Collection[str]) -> None:
        """Remember where the runs of these tenants are, in place of what was remembered before.

        Raises:
            StoreError: The store cannot or will not take it.
        """
        for tenant in tenants:
            content = {"engine": self._engine, **origins[tenant]._asdict()}
            for number, place in enumerate(await self._prefixes.own_places(tenant)):
                before = await self._read(place, moved=True)
                if before != content and (before is not None or number == 0):
                    sealed = seal_record(place, self._name, json.dumps(content).encode())
                    await self._client.replace(self._key(place), sealed)

    def _compare(self, tenant: str, before: Origin, now: Origin) -> None:
        for what, was, is_now in zip(Origin._fields, before, now, strict=True):
            if was and is_now and was != is_now:
                raise ConfigError(
                    f"what {self._engine} wrote for {tenant!r} was swept for the {what} {was} before, and this is the "
                    f"{what} {is_now}",
                    _TODO,
                )

    async def _read(self, place: ScopeSealer, *, moved: bool) -> dict[str, str] | None:
        key = self._key(place)
        try:
            data = await self._client.get_uncached(key, _LIMIT, _LIMIT)
            record: dict[str, str] = json.loads(open_record(place, self._name, data))
        except PayloadNotFound:
            return None
        except (FormatError, IntegrityError, LimitExceeded):
            if moved:
                return {}
            raise ConfigError(
                "what the store remembers of whom it was swept for is not authentic", _TODO, key
            ) from None
        if record["engine"] != self._engine and not moved:
            raise ConfigError(
                f"the scopes of {self._engine!r} and of {record['engine']!r} begin alike, and the store was swept for the "
                "other one",
                "Nothing was done. Give one of the engines another name.",
                key,
            )
        return record

    def _key(self, place: ScopeSealer) -> str:
        return f"{place.sealer.tenant_tag.hex()}/{self._name}"
