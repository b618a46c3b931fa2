"""The names that values have for a chain's rules, on the real server."""

from uuid import uuid4

from restate import Context, Service

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Rule, Zstd
from coatcheck.integrations.restate import ClaimCheck
from tests.chains import KEY, keys_in
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import text
from tests.integrations.restate.hosting import hosting


async def test_each_value_has_the_name_of_the_handler_that_writes_it(restate_server: RestateServer) -> None:
    """A store for each: what is in it had that name."""
    name = f"Named{uuid4().hex}"
    own, render, other = MemoryStore(), MemoryStore(), MemoryStore()
    chain = Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(own, over=512, read_also={"render": render, "other": other}),
        rules=[
            Rule(f"handler:{name}/quick", inline=True),
            Rule(f"handler:{name}/render", store="render"),
            Rule("handler:*", store="other"),
        ],
        cache=PayloadCache(2**24),
    )
    claims = ClaimCheck(chain)
    service = Service(name)

    @service.handler("quick")
    async def quick(ctx: Context, data: str) -> str:
        return await ctx.run_typed("step", lambda: data + text("quick"))

    @service.handler("render")
    async def draw(ctx: Context, data: str) -> str:
        step = await ctx.run_typed("step", lambda: text("step"))
        answer = await ctx.service_call(quick, text("asked"))
        assert answer == text("asked") + text("quick")
        return data + step

    @service.handler("rest")
    async def rest(ctx: Context, data: str) -> str:
        return data[::-1]

    async with (
        hosting(restate_server, claims.app([service])),
        claims.create_client(restate_server.ingress) as client,
    ):
        assert await client.service_call(quick, text("q")) == text("q") + text("quick")
        assert [await keys_in(store) for store in (own, render, other)] == [[], [], []]
        assert await client.service_call(draw, text("d")) == text("d") + text("step")
        # The request, the step, the request to the other handler, which this one writes, and the answer.
        assert len(await keys_in(render)) == 4
        assert await client.service_call(rest, text("r")) == text("r")[::-1]
        assert (len(await keys_in(other)), len(await keys_in(render)), await keys_in(own)) == (2, 4, [])
