"""A tenant is shredded while engines hold what was sealed for it: typed errors, no other bytes, and nobody else notices."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import inngest
import pytest
from inngest import Context
from restate import ObjectContext, ObjectSharedContext, VirtualObject

from coatcheck import Chain, Encrypt, GoogleKms, MemoryStore, Offload, PayloadCache, TenantKeys, Zstd
from coatcheck.integrations.inngest import claim_check
from coatcheck.integrations.inngest.failures import open_message
from coatcheck.integrations.restate import ClaimCheck
from tests.engines.google_kms import GoogleKmsServer
from tests.engines.inngest import InngestServer
from tests.engines.restate import RestateServer
from tests.integrations.inngest.serving import new_app, served
from tests.integrations.restate.hosting import hosting, until

LARGE = "payload " * 1_000
TENANTS = ("mine", "theirs")


class Processes:
    """Chains of processes that know nothing of each other, on one store."""

    def __init__(self, kms: GoogleKmsServer) -> None:
        self._kms = kms
        self._name = kms.new_key()
        self._store = MemoryStore()
        self._opened: list[Chain] = []

    def keys(self) -> TenantKeys:
        return TenantKeys(self._store, GoogleKms(self._name, endpoint_url=self._kms.endpoint), label="test")

    def chain(self) -> Chain:
        offload = Offload(self._store, over=256)
        chain = Chain(Zstd(), Encrypt(self.keys()), offload, cache=PayloadCache(0))
        self._opened.append(chain)
        return chain

    async def shred(self, tenant: str) -> None:
        keys = self.keys()
        assert len(await keys.shred(tenant)) == 1
        await keys.close()

    async def close(self) -> None:
        for chain in self._opened:
            await chain.close()


@pytest.fixture
async def processes(google_kms: GoogleKmsServer) -> AsyncIterator[Processes]:
    made = Processes(google_kms)
    yield made
    await made.close()


async def test_restate_goes_on_trying_and_says_why(
    restate_server: RestateServer, processes: Processes
) -> None:
    def service(tenant: str) -> tuple[VirtualObject, Any, Any]:
        kept = VirtualObject(f"Kept-{tenant}")

        @kept.handler()
        async def keep(ctx: ObjectContext, value: str) -> None:
            ctx.set("value", value)

        @kept.handler(kind="shared")
        async def recall(ctx: ObjectSharedContext) -> str:
            return await ctx.get("value", type_hint=str) or ""

        return kept, keep, recall

    services = {tenant: service(tenant) for tenant in TENANTS}
    for tenant, (kept, keep, _) in services.items():
        claims = ClaimCheck(processes.chain(), tenant=tenant)
        async with (
            hosting(restate_server, ClaimCheck(processes.chain(), tenant=tenant).app([kept])),
            claims.create_client(restate_server.ingress) as client,
        ):
            await client.object_call(keep, "k", LARGE)
    await processes.shred("mine")
    # Processes that begin now hold no key of before.
    for tenant, (kept, _, recall) in services.items():
        claims = ClaimCheck(processes.chain(), tenant=tenant)
        async with (
            hosting(restate_server, ClaimCheck(processes.chain(), tenant=tenant).app([kept])),
            claims.create_client(restate_server.ingress) as client,
            httpx.AsyncClient(base_url=restate_server.ingress) as outside,
        ):
            if tenant == "theirs":
                assert await client.object_call(recall, "k", None) == LARGE
                continue
            sent = (await outside.post(f"/Kept-{tenant}/k/recall/send")).json()["invocationId"]
            query = f"select status, last_failure from sys_invocation where id = '{sent}'"  # noqa: S608 - ours
            rows: list[dict[str, Any]] = []

            async def failed(query: str = query, rows: list[dict[str, Any]] = rows) -> bool:
                rows[:] = await restate_server.query(query)
                return bool(rows) and bool(rows[0].get("last_failure"))

            await until(failed)
            assert "KeyUnavailable" in rows[0]["last_failure"]
            assert "was destroyed on" in rows[0]["last_failure"]
            assert rows[0]["status"] != "completed"


async def test_inngest_ends_the_run_after_its_retries_and_says_why(
    inngest_server: InngestServer, processes: Processes
) -> None:
    runs: dict[str, dict[str, Any]] = {}
    attempts: dict[str, int] = dict.fromkeys(TENANTS, 0)
    for tenant in reversed(TENANTS):
        check = claim_check(processes.chain(), tenant=tenant)
        current = [check]

        def of_this_moment(client: inngest.Inngest, raw: object, current: Any = current) -> Any:
            return current[0](client, raw)

        app = new_app(inngest_server, of_this_moment)

        @app.client.create_function(fn_id="agent", retries=1, trigger=app.on("go"))
        async def agent(ctx: Context, tenant: str = tenant, current: Any = current) -> Any:
            attempts[tenant] += 1

            async def think() -> str:
                return LARGE

            async def shred() -> str:
                if tenant == "mine":
                    await processes.shred(tenant)
                # As if another process served what comes next.
                current[0] = claim_check(processes.chain(), tenant=tenant)
                return "done"

            thought = await ctx.step.run("think", think)
            await ctx.step.run("shred", shred)
            return thought

        async with served(app, [agent]):
            runs[tenant] = await app.run("go")
        check = current[0]
        if tenant == "theirs":
            assert runs[tenant]["status"] == "Completed", runs[tenant]
            assert await check.unwrap(runs[tenant]["output"]) == LARGE
            continue
        assert runs[tenant]["status"] == "Failed", runs[tenant]
        # What went wrong is sealed as well: under a new key, since the tenant has come back.
        said = await open_message(check.payloads, runs[tenant]["output"]["message"], check.payloads.shared)
        assert "was destroyed on" in said
    # The function never ran without what it had thought.
    assert attempts["mine"] < attempts["theirs"]
