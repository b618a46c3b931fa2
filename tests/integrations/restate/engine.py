"""One tenant of a Restate server, whose payloads are swept."""

from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from restate import RestateClient

from coatcheck import FileStore, Scope
from coatcheck.integrations.restate import ClaimCheck
from coatcheck.integrations.restate.live_runs import RestateRuns
from coatcheck.retention.live import MARK
from coatcheck.retention.rules import Action
from coatcheck.storage.prefixes import ScopePrefixes
from tests.engines.restate import RestateServer
from tests.integrations.restate.hosting import until
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import LONG, chain_on, keys_of, sweep_of


class Engine:
    """One tenant of the server, and its payloads."""

    def __init__(self, server: RestateServer, folder: Path) -> None:
        self.server = server
        self.tenant = uuid4().hex
        self.store = AgedStore(FileStore(folder))
        self.chain = chain_on(self.store)
        self.claims = ClaimCheck(self.chain, tenant=self.tenant)

    async def sent(self, client: RestateClient, handler: Any, argument: Any, **more: Any) -> str:
        """Have an invocation of a service done, and say its ID."""
        handle = await client.service_send(handler, argument, **more)
        await self.over(handle.invocation_id)
        return handle.invocation_id

    async def over(self, invocation: str) -> None:
        """Wait until it is completed."""

        async def completed() -> bool:
            where = f"where id = '{invocation}' and status = 'completed'"
            return bool(await self.server.query(f"select id from sys_invocation_status {where}"))  # noqa: S608

        await until(completed)

    async def ask(self, invocation: str, what: str) -> None:
        """Have the server purge or kill it."""
        async with httpx.AsyncClient(base_url=self.server.admin) as admin:
            (await admin.patch(f"/invocations/{invocation}/{what}")).raise_for_status()

    async def purge(self, *invocations: str) -> None:
        """Have the server forget them, as it does after their retention."""
        for invocation in invocations:
            await self.ask(invocation, "purge")
        for invocation in invocations:
            await until(partial(self.forgot, invocation))

    async def knows(self, target: str) -> bool:
        """Whether there is an invocation whose target begins so."""
        return bool(await self.invocations(target))

    async def forgot(self, invocation: str) -> bool:
        """Whether nothing is left of it."""
        where = f"where id = '{invocation}'"
        return not await self.server.query(f"select id from sys_invocation_status {where}")  # noqa: S608

    async def invocations(self, of: str) -> list[str]:
        """The IDs of all whose target begins so."""
        found = await self.server.query(f"select id from sys_invocation where target like '{of}%'")  # noqa: S608
        return [str(row["id"]) for row in found]

    async def invoked_by(self, invocation: str) -> list[str]:
        """The IDs of all that it called."""
        where = f"where invoked_by_id = '{invocation}'"
        found = await self.server.query(f"select id from sys_invocation_status {where}")  # noqa: S608
        return [str(row["id"]) for row in found]

    async def result(self, path: str) -> bytes:
        """What a client gets that attaches to it."""
        async with httpx.AsyncClient(base_url=self.server.ingress, timeout=30) as ingress:
            answer = await ingress.get(f"/restate/{path}/attach")
            answer.raise_for_status()
            return await self.chain.decode(answer.content, Scope(self.tenant))

    async def input_of(self, invocation: str) -> bytes:
        """What it will be called with."""
        where = f"""where id = '{invocation}' and "index" = 0"""
        [row] = await self.server.query(f"select raw from sys_journal {where}")  # noqa: S608
        raw = bytes.fromhex(str(row["raw"]))
        return await self.chain.open(raw[raw.index(MARK) :], Scope(self.tenant))

    async def keys(self, run: str | None) -> list[str]:
        """What the store has of a scope."""
        return await keys_of(
            self.store, await ScopePrefixes(self.chain.sealings).of(Scope(self.tenant, run, engine="restate"))
        )

    async def sweep(self) -> None:
        """Twice, with time to get old before each: what nobody reaches is gone."""
        live = RestateRuns(self.server.admin, [self.tenant])
        for _ in range(2):
            await self.store.age(LONG)
            await sweep_of(self.store, live, tenants=live.tenants).run()
        self.chain = chain_on(self.store)  # with nothing in memory
        report = await sweep_of(self.store, live, tenants=live.tenants).look()
        assert {verdict for verdict, tally in report.tallies.items() if tally.scopes} <= {
            Action.LIVE,
            Action.YOUNG,
        }
