"""Keys that a KMS wraps: loaded before the hooks need them, which cannot wait."""

import pytest
from restate import ObjectContext, VirtualObject

from coatcheck import Chain, Encrypt, GoogleKms, MemoryStore, Offload, PayloadCache, TenantKeys, Zstd
from coatcheck.integrations.restate import ClaimCheck
from tests.engines.google_kms import google_kms
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import SECRET, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting


@pytest.mark.parametrize("mode", MODES)
async def test_an_app_seals_under_the_tenants_own_key(restate_server: RestateServer, mode: Protocol) -> None:
    keeper = VirtualObject("Keeper")

    @keeper.handler()
    async def keep(ctx: ObjectContext, value: str) -> int:
        ctx.set("small", value[:100])
        ctx.set("large", value)

        async def again() -> str:
            return value + value

        return len(await ctx.run_typed("again", again))

    async with google_kms() as kms:
        store, name = MemoryStore(), kms.new_key()

        def chain() -> Chain:
            keys = TenantKeys(store, GoogleKms(name, endpoint_url=kms.endpoint), label="test")
            return Chain(Zstd(), Encrypt(keys), Offload(store, over=1024), cache=PayloadCache(0))

        claims, other = ClaimCheck(chain()), chain()
        async with (
            other,
            hosting(restate_server, claims.app([keeper], mode), mode),
            ClaimCheck(other).create_client(restate_server.ingress) as client,
        ):
            value = text("value" * 100)
            assert await client.object_call(keep, "k", value) == 2 * len(value)
        rows = await restate_server.query("select value from state where service_name = 'Keeper'")
        assert len(rows) == 2
        assert all(SECRET.encode() not in bytes.fromhex(str(row["value"])) for row in rows)
        # The names key and one tenant's: each made once and unwrapped by both processes.
        assert len([path for path in kms.asked if path.endswith("encrypt")]) == 2
