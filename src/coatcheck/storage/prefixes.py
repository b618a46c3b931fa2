"""Where in a store the payloads of a scope are: under every key that they may be sealed under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coatcheck.contracts.sealing import SERIES_TAG_LENGTH, Sealing
from coatcheck.errors import KeyUnavailable
from coatcheck.format.suites import ScopeSealer, scope_sealer
from coatcheck.scope import Scope

_TENANT_LENGTH: Final = 33
"""Characters of a tenant's tag and a slash."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """One tenant's keys of one suite, as they were when the sweep began."""

    sealing: Sealing
    tenant: str
    ids: tuple[bytes, ...]


class ScopePrefixes:
    """The prefixes of scopes in a store. Not for several tasks at once.

    A rotation leaves objects under the keys before it, so every scope has as many prefixes as its tenant has keys. If one
    of them cannot be had, that is an error: a live scope that is not found would be taken for a dead one.

    Args:
        sealings: Those of the chain.
    """

    def __init__(self, sealings: Sequence[Sealing]) -> None:
        self._sealings = sealings
        self._keys: dict[str, list[_Keys]] = {}
        self._tags: dict[str, tuple[_Keys, bytes]] = {}
        """By what keys of the store begin with: whose, and under which key."""

    async def of_tenant(self, tenant: str) -> list[str]:
        """What all keys of a tenant begin with.

        Raises:
            KeyUnavailable: A key of the tenant cannot be had.
            StoreError: The store that keys are kept in cannot or will not give them.
        """
        return sorted({f"{prefix[:32]}/" for prefix in await self.of(Scope(tenant))})

    async def of(self, scope: Scope) -> list[str]:
        """What the keys of a scope begin with; raises as :meth:`of_tenant`."""
        if scope.tenant not in self._keys:
            self._keys[scope.tenant] = [await self._load(sealing, scope.tenant) for sealing in self._sealings]
        try:
            return self._all_of(scope)
        except KeyUnavailable:
            # Those that a KMS unwrapped are held for a time only.
            for sealing in self._sealings:
                await sealing.load_all(scope.tenant)
            return self._all_of(scope)

    def tenant_at(self, prefix: str) -> str:
        """Return the tenant whose keys begin with a prefix of :meth:`of` or :meth:`of_tenant`."""
        return self._tags[prefix.partition("/")[0]][0].tenant

    async def sealer_at(self, prefix: str) -> ScopeSealer:
        """What the objects below a prefix of :meth:`of`, or below a longer one of :meth:`of_tenant`, are sealed with.

        Raises as :meth:`of_tenant`.
        """
        tag, run, _ = prefix.split("/")
        keys, key_id = self._tags[tag]
        await keys.sealing.load(keys.tenant, key_id)
        run_tag = bytes.fromhex(run)
        sealer = keys.sealing.sealer(keys.tenant, run_tag, key_id)
        return ScopeSealer(keys.sealing.suite, key_id, run_tag, sealer)

    async def own_places(self, tenant: str) -> list[ScopeSealer]:
        """Return the tenant's own place under each key of what new things are sealed with, the primary's first.

        Raises as :meth:`of_tenant`.
        """
        await self.of_tenant(tenant)
        keys = self._keys[tenant][0]
        await keys.sealing.load_all(tenant)
        return [scope_sealer(keys.sealing, Scope(tenant), key_id) for key_id in keys.ids]

    async def of_series(self, tenant: str, series: str, engine: str) -> list[str]:
        """Return what the keys of all scopes of a series begin with; raises as :meth:`of_tenant`."""
        # Which run of it does not matter.
        prefixes = await self.of(Scope(tenant, series, series, engine))
        return [prefix[: _TENANT_LENGTH + 2 * SERIES_TAG_LENGTH] for prefix in prefixes]

    def _all_of(self, scope: Scope) -> list[str]:
        found = []
        for keys in self._keys[scope.tenant]:
            for key_id in keys.ids:
                of = scope_sealer(keys.sealing, scope, key_id)
                tag = of.sealer.tenant_tag.hex()
                self._tags[tag] = keys, key_id
                found.append(of.prefix)
        return found

    async def _load(self, sealing: Sealing, tenant: str) -> _Keys:
        await sealing.load_all(tenant)
        return _Keys(sealing, tenant, sealing.key_ids(tenant))
