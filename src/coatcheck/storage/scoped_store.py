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
"""Bytes that an object may have beside its payload: its header with up to 255 bases, salt, commitment and tag."""


class ChainStore:
    """One store of a chain. For any number of event loops.

    Args:
        alias: Its name in references.
        store: The store itself.
        deadline: Seconds for one call with all its attempts.
        max_payload: Bytes.
    """

    def __init__(self, alias: str, store: Store, deadline: float, *, max_payload: int) -> None:
        self.alias = alias
        self.client = StoreClient(store, deadline)
        self.opening: SingleFlight[bytes] = SingleFlight()
        self.limit = max_payload + SEALED_AROUND
        """Bytes of the largest object that the chain can have written."""
        self.prefetch = Prefetch(self.client, self.limit)
        self._states = ScopeStates(store)

    def scope(self, sealing: ScopeSealer) -> "ScopedStore":
        """Return a scope of the store. Cheap; to be called once for each payload."""
        return ScopedStore(self, sealing, self._states.of(sealing.prefix))

    def forget(self, sealing: ScopeSealer) -> None:
        """Know nothing of a scope any more: it may have been deleted."""
        self._states.forget(sealing.prefix)

    async def close(self) -> None:
        """Give up what is under way, and close the store."""
        await self.prefetch.close(self._states.all())
        await self.client.close()


@dataclass(frozen=True, slots=True)
class ScopedStore:
    """One scope in one store: resolved once for a payload, and passed on with it."""

    store: ChainStore
    sealing: ScopeSealer
    """Seals for the scope."""
    state: ScopeState
    """What is known of it."""

    async def get(self, object_id: bytes, size: int, *, follow: bool, limit: int | None = None) -> bytes:
        """Return an object of the scope; raises as :meth:`StoreClient.get`.

        Args:
            object_id: Its id.
            size: Bytes that it will likely come to.
            follow: Whether objects written after it are likely to be asked for next.
            limit: Bytes that it may come to; None for as many as any object of the chain.
        """
        limit = self.store.limit if limit is None else limit
        # The tenant scope is no run that anybody replays, and can be very large.
        if self.state.is_tenant_scope:
            return await self.store.client.get(self.state.key(object_id), size, limit)
        return await self.store.prefetch.get(self.state, object_id, size, limit, follow=follow)

    async def wait_for_listing(self) -> None:
        """See :meth:`Prefetch.wait_for_listing`."""
        await self.store.prefetch.wait_for_listing(self.state)

    async def confirm(self) -> None:
        """Make sure that no sweep takes away what the store says is in the scope after this, and find out what that is.

        What was seen there before may be gone, and what was read says nothing: a copy is read as well.

        Makes at most one request if the scope was listed before and is not being swept, and none if that is known, or in the
        tenant scope, which is never swept.

        Raises:
            StoreUnavailable: The scope is being swept: in a moment what is there will be gone, and can be written anew.
            StoreError: The store cannot or will not say.
        """
        if not self.state.is_tenant_scope and not self.state.is_confirmed:
            await self.store.prefetch.list_scope(self.state)
        await self.look_for_sweep()

    async def look_for_sweep(self) -> None:
        """As :meth:`confirm`, in one request, and without finding out what else is in the scope."""
        if not self.state.is_tenant_scope and not self.state.is_confirmed:
            begun = boottime()
            await protect_from_sweep(self.store.client, self.sealing)
            self.state.confirmed(begun)
