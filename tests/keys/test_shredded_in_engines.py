"""A tenant is shredded while engines hold what was sealed for it: typed errors, no other bytes, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import inngest
import pytest
from inngest import Context
from restate import ObjectContext, ObjectSharedContext, VirtualObject
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, RetryState
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, MemoryStore, Offload, PayloadCache, TenantKeys, Zstd
from coatcheck.integrations.inngest import claim_check
from coatcheck.integrations.inngest.failures import open_message
from coatcheck.integrations.restate import ClaimCheck
from coatcheck.integrations.temporal import ClaimCheckPlugin
from tests.engines.inngest import InngestServer
from tests.engines.openbao import OpenBao
from tests.engines.restate import RestateServer
from tests.engines.temporal import TemporalServer
from tests.integrations.inngest.serving import new_app, served
from tests.integrations.restate.hosting import hosting
from tests.integrations.temporal.everything import ACTIVITIES
from tests.keys.conftest import Kms, of_vault

LARGE = "payload " * 1_000
TENANTS = ("mine", "theirs")


class Processes:
    """Chains of processes that know nothing of each other, on one store."""

    def __init__(self, kms: Kms) -> None:
        self._kms = kms
        self._name = kms.new_key()
        self._store = MemoryStore()
        self._opened: list[Chain] = []

    def keys(self) -> TenantKeys:
        return TenantKeys(self._store, self._kms.service(self._name), label="test")

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
async def processes(openbao: OpenBao) -> AsyncIterator[Processes]:
    made = Processes(of_vault(openbao))
    yield made
    await made.close()


async def test_restate_tried_for_ever_what_nobody_can_ever_read(
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
            answer = await outside.post(f"/Kept-{tenant}/k/recall", timeout=60)
            assert answer.status_code == 410
            assert "was destroyed on" in answer.text
            assert "gone for good" in answer.text


@workflow.defn(sandboxed=False)
class Elsewhere:
    """Has its activity done by another worker, and tries again for as long as it takes."""

    @workflow.run
    async def run(self, queue: str) -> str:
        done: str = await workflow.execute_activity(
            "echo", LARGE, task_queue=queue, schedule_to_close_timeout=timedelta(minutes=10)
        )
        return done


async def test_an_activity_was_tried_for_ever_with_arguments_that_nobody_can_ever_read(
    temporal_server: TemporalServer, processes: Processes
) -> None:
    plugin = ClaimCheckPlugin(processes.chain())
    client = await Client.connect(temporal_server.address, plugins=[plugin])
    queue = f"shredded-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Elsewhere]):
        handle = await client.start_workflow(Elsewhere.run, f"{queue}-activities", id=queue, task_queue=queue)
        async with asyncio.timeout(60):
            while not (await handle.describe()).raw_description.pending_activities:  # noqa: ASYNC110 - the server says when
                await asyncio.sleep(0.05)
        await processes.shred("default")
        late = await Client.connect(temporal_server.address, plugins=[ClaimCheckPlugin(processes.chain())])
        async with Worker(late, task_queue=f"{queue}-activities", activities=ACTIVITIES):
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
    failed = caught.value.cause
    assert isinstance(failed, ActivityError)
    assert failed.retry_state is RetryState.NON_RETRYABLE_FAILURE
    assert "was destroyed on" in str(failed.__cause__ and failed.__cause__.__cause__)


async def test_inngest_ends_the_run_at_once_and_says_why(
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
