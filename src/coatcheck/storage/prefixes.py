"""The prefixes of scopes in a store, one for each key that their payloads may be sealed under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coatcheck.contracts.sealing import SERIES_TAG_LENGTH, Sealing
from coatcheck.errors import KeyUnavailable
from coatcheck.format.suites import ScopeSealer, scope_sealer
from coatcheck.scope import Scope

_TENANT_LENGTH: Final = 33
"""Characters of a tenant's tag with its slash."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """One tenant's keys of one suite, as they were when they were first needed."""

    sealing: Sealing
    tenant: str
    ids: tuple[bytes, ...]


class ScopePrefixes:
    """Finds the prefixes of scopes in a store. For one task at a time.

    After a rotation, older objects stay under older keys, so a scope has one prefix for each key of its tenant. If one of
    the keys cannot be loaded, that is an error: a sweep would otherwise miss a live scope and delete it.

    Args:
        sealings: The sealings of the chain.
    """

    def __init__(self, sealings: Sequence[Sealing]) -> None:
        self._sealings = sealings
        self._keys: dict[str, list[_Keys]] = {}
        self._tags: dict[str, tuple[_Keys, bytes]] = {}
        """The tenant's keys and a key's id, by the tenant tag under that key."""

    async def of_tenant(self, tenant: str) -> list[str]:
        """Return the prefixes of all scopes of a tenant, one for each key.

        Raises:
            KeyUnavailable: A key of the tenant cannot be loaded.
            StoreError: The store with the keys cannot or will not return them.
        """
        return sorted({f"{prefix[:32]}/" for prefix in await self.of(Scope(tenant))})

    async def of(self, scope: Scope) -> list[str]:
        """Return the prefixes of a scope, one for each key. Raises as :meth:`of_tenant`."""
        if scope.tenant not in self._keys:
            self._keys[scope.tenant] = [await self._load(sealing, scope.tenant) for sealing in self._sealings]
        try:
            return self._all_of(scope)
        except KeyUnavailable:
            # Keys that a KMS unwrapped are cached for a limited time.
            for sealing in self._sealings:
                await sealing.load_all(scope.tenant)
            return self._all_of(scope)

    def tenant_at(self, prefix: str) -> str:
        """Return the tenant of a prefix from :meth:`of` or :meth:`of_tenant`."""
        return self._tags[prefix.partition("/")[0]][0].tenant

    async def sealer_at(self, prefix: str) -> ScopeSealer:
        """Return the sealer of the objects below a scope's prefix. Raises as :meth:`of_tenant`.

        Args:
            prefix: From :meth:`of`, or any scope's prefix that begins with one from :meth:`of_tenant`.
        """
        tag, run, _ = prefix.split("/")
        keys, key_id = self._tags[tag]
        await keys.sealing.load(keys.tenant, key_id)
        run_tag = bytes.fromhex(run)
        sealer = keys.sealing.sealer(keys.tenant, run_tag, key_id)
        return ScopeSealer(keys.sealing.suite, key_id, run_tag, sealer)

    async def own_places(self, tenant: str) -> list[ScopeSealer]:
        """Return the sealers of the tenant scope under each key of the sealing for new payloads, the primary's first.

        Raises as :meth:`of_tenant`.
        """
        await self.of_tenant(tenant)
        keys = self._keys[tenant][0]
        await keys.sealing.load_all(tenant)
        return [scope_sealer(keys.sealing, Scope(tenant), key_id) for key_id in keys.ids]

    async def of_series(self, tenant: str, series: str, engine: str) -> list[str]:
        """Return the prefixes of all scopes of a series, one for each key. Raises as :meth:`of_tenant`."""
        # The run does not matter.
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
