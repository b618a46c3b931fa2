"""The computation of an encode."""

from coatcheck import Chain, Scope


def compute(chain: Chain, payload: bytes, scope: Scope) -> None:
    """Do all of :meth:`Chain.encode` on this thread, except what is awaited."""
    # A hook's `begin_upload` does most of this later.
    sealing = chain._policy.for_new(scope)  # noqa: SLF001
    place = chain._place("")  # noqa: SLF001
    if place.store is None or len(payload) <= place.over:
        chain._encoder.seal_inline(payload, sealing)  # noqa: SLF001
    else:
        chain._encoder.encode(payload, place.store.scope(sealing), place.over)  # noqa: SLF001
