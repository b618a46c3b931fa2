"""The names that values have for a chain's rules, on the real server."""

from typing import Any

import inngest
from inngest import Context

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Rule, Zstd
from coatcheck.integrations.inngest import claim_check
from tests.chains import KEY, keys_in
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import new_app, served, text

LARGE = 50_000


def document(seed: str) -> dict[str, Any]:
    return {"text": text(LARGE, seed)}


async def test_each_value_has_the_name_that_the_page_says(inngest_server: InngestServer) -> None:
    """A store for each: what is in it had that name."""
    name = "named-values"
    rules = {
        "first": "step:first",
        "parallel": "step:a",
        "invoked": "step:c",
        "alone": "step:alone",
        "event": f"event:{name}/start",
        "parent": "function:parent",
        "child": "function:child",
    }
    own, stores = MemoryStore(), {alias: MemoryStore() for alias in rules}
    chain = Chain(
        Zstd(),
        Encrypt(Keyring(KEY), accept_plain=False),
        Offload(own, read_also=stores),
        rules=[
            Rule("step:inline", inline=True),
            Rule("step:larger", over=LARGE),
            *(Rule(pattern, store=alias) for alias, pattern in rules.items()),
        ],
        cache=PayloadCache(2**24),
    )
    app = new_app(inngest_server, claim_check(chain), name=name)

    @app.client.create_function(fn_id="child", trigger=app.on("child"))
    async def child(ctx: Context) -> Any:
        return {"child": ctx.event.data["text"]}

    @app.client.create_function(fn_id="parent", trigger=app.on("start"))
    async def parent(ctx: Context) -> Any:
        async def made(seed: str) -> Any:
            return document(seed)

        kept = await ctx.step.run("inline", made, "inline")
        larger = await ctx.step.run("larger", made, "larger")
        first = await ctx.step.run("first", made, "first")
        invoked = document("invoked")
        both = await ctx.group.parallel(
            (
                lambda: ctx.step.run("a", made, "a"),
                lambda: ctx.step.invoke("c", function=child, data=invoked),
            )
        )
        alone = await ctx.step.invoke("alone", function=child, data=document("alone"))
        assert kept == document("inline")
        assert larger == document("larger")
        return [first, *both, alone]

    async with served(app, [child, parent]):
        [sent] = await app.client.send(inngest.Event(name=app.event("start"), data=document("event")))
        [run] = await app.server.runs_of(sent)
    assert run["status"] == "Completed", run
    counts = {alias: len(await keys_in(store)) for alias, store in stores.items()}
    # The child ran twice.
    assert counts == {**dict.fromkeys(rules, 1), "child": 2}
    assert await keys_in(own) == []
