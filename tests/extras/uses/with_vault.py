"""``with_vault.py ENDPOINT NAME TOKEN``: a tenant's keys, wrapped by Vault."""

import asyncio
import sys

from chains import PAYLOAD, SCOPE

from coatcheck import Chain, Encrypt, MemoryStore, Offload, TenantKeys, VaultAuth, VaultTransit


async def main(endpoint: str, name: str, token: str) -> None:
    store = MemoryStore()

    def chain() -> Chain:
        service = VaultTransit(name, VaultAuth.token(token), endpoint_url=endpoint)
        return Chain(Encrypt(TenantKeys(store, service, label="test")), Offload(store))

    journal = await chain().encode(PAYLOAD, SCOPE)
    assert await chain().decode(journal, SCOPE) == PAYLOAD


asyncio.run(main(*sys.argv[1:]))
