"""Records of the clusters and namespaces for which a store was swept, sealed under the tenants' keys."""

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
"""Bytes of a record; more than enough."""
_TODO = (
    "Nothing was done. Check the server, the namespace, the store and the keys. If the engine was moved on purpose, use "
    "--moved once."
)


class Origins:
    """Compares the origins of an engine's runs with those of earlier sweeps. For one task.

    Args:
        client: The store.
        prefixes: The prefixes of its tenants.
        engine: The engine's name.
    """

    def __init__(self, client: StoreClient, prefixes: ScopePrefixes, engine: str) -> None:
        self._client = client
        self._prefixes = prefixes
        self._engine = engine
        self._name = f"sweep-origin-{engine_code(engine):02x}"

    async def check(self, origins: Mapping[str, Origin], *, moved: bool) -> set[str]:
        """Check that the store was not swept for another origin before, and return the tenants that it was swept for.

        Args:
            origins: The origin of each tenant's runs.
            moved: True to accept another origin.

        Raises:
            ConfigError: The store was swept for another origin, or its record is not authentic.
            KeyUnavailable: A key of a tenant cannot be loaded.
            StoreError: The store cannot or will not answer.
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
        """Record the origins of these tenants, in place of earlier records.

        Args:
            origins: The origin of each tenant's runs.
            tenants: The tenants to record.

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
                    f"the payloads of {self._engine} for {tenant!r} were swept for the {what} {was} before, but this is "
                    f"the {what} {is_now}",
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
            raise ConfigError("the store's record of earlier sweeps is not authentic", _TODO, key) from None
        if record["engine"] != self._engine and not moved:
            raise ConfigError(
                f"the engines {self._engine!r} and {record['engine']!r} have the same code in scopes, and the store was "
                "swept for the other one",
                "Nothing was done. Give one of the engines another name.",
                key,
            )
        return record

    def _key(self, place: ScopeSealer) -> str:
        return f"{place.sealer.tenant_tag.hex()}/{self._name}"
