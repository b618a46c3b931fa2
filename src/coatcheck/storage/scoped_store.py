"""A store as the chain uses it: limited and retried, with what is known of it, and looking ahead."""

from typing import Final

from coatcheck.contracts.sealing import Sealer
from coatcheck.contracts.store import Store
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.layout import scope_prefix
from coatcheck.format.suites import ScopeSealer
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.cache import PayloadCache
from coatcheck.storage.client import Access
from coatcheck.storage.known_objects import KnownObjects
from coatcheck.storage.prefetch import Prefetch
from coatcheck.storage.scope_state import ScopeState, ScopeStates
from coatcheck.storage.sweep_marks import protect_from_sweep

SEALED_AROUND: Final = 2**14
"""Bytes that an object may have beside its payload: its header with up to 255 bases, salt, commitment and tag."""


class ScopedStore:
    """One store of a chain. For any number of event loops.

    Args:
        alias: What references call it.
        store: The store itself.
        deadline: Seconds for one call, all its attempts together.
        cache: Of opened payloads.
        transforms: The chain's codecs.
        max_payload: Bytes.
    """

    def __init__(
        self,
        alias: str,
        store: Store,
        deadline: float,
        cache: PayloadCache,
        transforms: CodecPipeline,
        *,
        max_payload: int,
    ) -> None:
        self.alias = alias
        self.access = Access(store, deadline)
        self.opening: SingleFlight[bytes] = SingleFlight()
        self.limit = max_payload + SEALED_AROUND
        """Bytes of the largest object that the chain can have written."""
        self._scopes = ScopeStates(cache, transforms, store)
        self._ahead = Prefetch(self.access, self.limit)

    def scope(self, sealer: Sealer, run_tag: bytes) -> ScopeState:
        """What is known of a scope."""
        return self._scopes.of(scope_prefix(sealer, run_tag))

    def forget(self, sealer: Sealer, run_tag: bytes) -> None:
        """Know nothing of a scope any more: it may have been deleted."""
        self._scopes.forget(scope_prefix(sealer, run_tag))

    async def get(
        self, presence: KnownObjects, object_id: bytes, size: int, *, follow: bool, limit: int | None = None
    ) -> bytes:
        """Return an object of a scope; raises as :meth:`Access.get`.

        Args:
            presence: What is known of the scope.
            object_id: Its id.
            size: Bytes that it will likely come to.
            follow: Whether what was written after it is likely to be asked for next.
            limit: Bytes that it may come to; None for as many as any object of the chain.
        """
        limit = self.limit if limit is None else limit
        # The tenant scope is no run that anybody replays, and can be very large.
        if presence.of_tenant:
            return await self.access.get(presence.key(object_id), size, limit)
        return await self._ahead.get(presence, object_id, size, limit, follow=follow)

    async def settled(self, presence: KnownObjects) -> None:
        """See :meth:`Prefetch.settled`."""
        await self._ahead.settled(presence)

    async def confirm(self, presence: KnownObjects, scope: ScopeSealer) -> None:
        """Make sure that no sweep takes away what the store says is in the scope after this.

        What was seen there before may be gone, and what was read says nothing: a copy is read as well.

        Makes at most one request if the scope was listed before and is not being swept, and none if that is known, or in the
        tenant scope, which is never swept.

        Raises:
            StoreUnavailable: The scope is being swept: in a moment what is there will be gone, and can be written anew.
            StoreError: The store cannot or will not say.
        """
        if not presence.of_tenant and not presence.is_confirmed:
            await self._ahead.listed(presence)
        await self.look_for_sweep(presence, scope)

    async def look_for_sweep(self, presence: KnownObjects, scope: ScopeSealer) -> None:
        """As :meth:`confirm`, in one request, and without finding out what else is in the scope."""
        if not presence.of_tenant and not presence.is_confirmed:
            begun = boottime()
            await protect_from_sweep(self.access, scope)
            presence.confirmed(begun)

    async def close(self) -> None:
        """Give up what is under way, and close the store."""
        await self._ahead.close()
        await self.access.close()
