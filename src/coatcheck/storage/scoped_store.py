"""A store as a chain uses it, and one scope in it."""

from dataclasses import dataclass
from typing import Final

from coatcheck.contracts.store import Store
from coatcheck.format.suites import ScopeSealer
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefetch import Prefetch
from coatcheck.storage.scope_state import ScopeState, ScopeStates
from coatcheck.storage.sweep_marks import protect_from_sweep

SEALED_AROUND: Final = 2**14
"""Bytes that an object may have beside its payload: the header with up to 255 bases, salt, commitment and tag."""


class ChainStore:
    """One store of a chain. For any number of event loops.

    Args:
        alias: The store's name in references.
        store: The store itself.
        deadline: Seconds for one call, including all attempts.
        max_payload: Bytes that a payload may have.
    """

    def __init__(self, alias: str, store: Store, deadline: float, *, max_payload: int) -> None:
        self.alias = alias
        self.client = StoreClient(store, deadline)
        self.opening: SingleFlight[bytes] = SingleFlight()
        self.limit = max_payload + SEALED_AROUND
        """Bytes of the largest object that the chain can write."""
        self.prefetch = Prefetch(self.client, self.limit)
        self._states = ScopeStates(store)

    def scope(self, sealing: ScopeSealer) -> "ScopedStore":
        """Return a scope of the store. Fast; called once for each payload."""
        return ScopedStore(self, sealing, self._states.of(sealing.prefix))

    def forget(self, sealing: ScopeSealer) -> None:
        """Forget everything about a scope, which may have been deleted."""
        self._states.forget(sealing.prefix)

    async def stop_prefetch(self) -> None:
        """Cancel prefetching on this event loop."""
        await self.prefetch.close(self._states.all())

    async def close(self) -> None:
        """Cancel prefetching, and close the store."""
        await self.stop_prefetch()
        await self.client.close()


@dataclass(frozen=True, slots=True)
class ScopedStore:
    """One scope in one store: looked up once for a payload, and passed on with it."""

    store: ChainStore
    sealing: ScopeSealer
    """The sealer of the scope."""
    state: ScopeState
    """The process's knowledge about the scope."""

    async def get(self, object_id: bytes, size: int, *, follow: bool, limit: int | None = None) -> bytes:
        """Return an object of the scope. Raises as :meth:`StoreClient.get`.

        Args:
            object_id: The object's id.
            size: Bytes that it is expected to have.
            follow: True to prefetch the objects that were written after it.
            limit: Bytes that it may have; None for the limit of the chain.
        """
        limit = self.store.limit if limit is None else limit
        # The tenant scope is not a run that can be replayed, and can be very large.
        if self.state.is_tenant_scope:
            return await self.store.client.get(self.state.key(object_id), size, limit)
        return await self.store.prefetch.get(self.state, object_id, size, limit, follow=follow)

    async def wait_for_listing(self) -> None:
        """See :meth:`Prefetch.wait_for_listing`."""
        await self.store.prefetch.wait_for_listing(self.state)

    async def confirm(self) -> None:
        """Make sure that no sweep deletes anything that the store shows in the scope after this, and list the scope.

        Objects that were seen there before may be gone, and objects that were read prove nothing: they may be copies.

        Makes at most one request if the scope was listed before and is not being swept; none if that is known, or in the
        tenant scope, which is never swept.

        Raises:
            StoreUnavailable: The scope is being swept: its objects will soon be gone, and can then be written again.
            StoreError: The store cannot or will not answer.
        """
        if not self.state.is_tenant_scope and not self.state.is_confirmed:
            await self.store.prefetch.list_scope(self.state)
        await self.look_for_sweep()

    async def look_for_sweep(self) -> None:
        """Look for a sweep as :meth:`confirm` does, in one request, without listing the scope."""
        if not self.state.is_tenant_scope and not self.state.is_confirmed:
            begun = boottime()
            await protect_from_sweep(self.store.client, self.sealing)
            self.state.confirmed(begun)
