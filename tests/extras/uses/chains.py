"""What all uses share: a chain, and a payload that is worth offloading."""

import random

from coatcheck import Chain, Encrypt, Key, Keyring, Offload, Scope, Store, Zstd

SCOPE = Scope("tenant", "run")
PAYLOAD = random.Random(7).randbytes(100_000)


def chain_on(store: Store) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(Key(bytes(range(32))))), Offload(store))


async def check_round_trip(store: Store) -> None:
    """What one chain keeps in the store, another one brings back."""
    journal = await chain_on(store).encode(PAYLOAD, SCOPE)
    assert len(journal) < 200, len(journal)
    assert await chain_on(store).decode(journal, SCOPE) == PAYLOAD
    assert [found.key async for found in store.list_objects()]
