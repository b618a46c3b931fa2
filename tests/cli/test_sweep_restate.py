"""``coatcheck sweep restate`` on the real server."""

import asyncio
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coatcheck import Chain
from coatcheck.integrations.restate import ClaimCheck
from tests.cli.sweeping import age, keep, objects, refusal, run
from tests.engines.inngest import serving_asgi
from tests.engines.process import free_port
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import World, text
from tests.integrations.restate.hosting import hosting, until


async def _remember(server: RestateServer, tenant: str) -> None:
    """Have an object keep something, and the server forget the invocation that set it."""
    world, sql = World(), f"select id from sys_invocation where target_service_key = '{tenant}'"  # noqa: S608
    async with Chain.from_settings() as chain:
        claims = ClaimCheck(chain, tenant=tenant)
        async with (
            hosting(server, claims.app(world.services)),
            claims.create_client(server.ingress) as client,
            httpx.AsyncClient(base_url=server.admin) as admin,
        ):
            await client.object_call(world.h["remember"], tenant, text("kept"))
            for row in await server.query(sql):
                (await admin.patch(f"/invocations/{row['id']}/purge")).raise_for_status()

            async def forgotten() -> bool:
                return not await server.query(sql)

            await until(forgotten)


def test_what_is_dead_is_marked_and_then_deleted(
    restate_server: RestateServer, payloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = uuid4().hex
    asyncio.run(_remember(restate_server, tenant))
    kept = set(objects(payloads))
    keep("inv_gone", tenant, engine="restate")
    options = ["--tenant", tenant, "--max-share", "0.9"]
    monkeypatch.setenv("RESTATE_ADMIN_URL", restate_server.admin)
    age(payloads)
    dry = run("restate", *options)
    assert (dry.code, dry.err) == (0, "")
    assert "would be marked" in dry.out
    assert dry.out.endswith("Dry run. Use --delete to apply.\n")
    assert len(objects(payloads)) == len(kept) + 1

    marked = run("restate", *options, "--delete", "--json")
    assert marked.scopes == {"live": 1, "marked": 1}
    assert run("restate", *options, "--delete", "--json").scopes == {"live": 1, "waiting": 1}
    age(payloads, 8, tenant)
    assert "but only 0% are allowed" in refusal("restate", *options[:2], "--max-share", "0", "--delete")
    deleted = run("restate", *options, "--admin", restate_server.admin, "--delete", "--json")
    assert deleted.scopes == {"live": 1, "deleted": 1}
    assert deleted.figures["total", "objects deleted"] == 1
    assert set(objects(payloads)) == kept


def test_a_server_that_is_not_there(payloads: Path) -> None:
    keep("inv_gone", engine="restate")
    age(payloads)
    before = objects(payloads)
    for options in (["--delete"], []):
        said = refusal("restate", "--admin", f"http://127.0.0.1:{free_port()}", *options, code=75)
        assert "does not answer" in said
    assert objects(payloads) == before


def test_a_dry_run_of_a_dead_server_gave_a_table(payloads: Path) -> None:
    """While all is young, and where there is nothing at all."""
    dead = ("--admin", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in refusal("restate", *dead, code=75)
    keep("inv_young", engine="restate")
    assert "does not answer" in refusal("restate", *dead, code=75)


def test_a_store_that_has_nothing_of_a_tenant_gave_an_empty_table(
    restate_server: RestateServer, payloads: Path
) -> None:
    keep("inv_one", engine="restate")
    keep("inv_one", "theirs", engine="temporal")
    for tenant in ("default-typo", "theirs"):
        said = refusal("restate", "--admin", restate_server.admin, "--tenant", tenant)
        assert f"has no payloads of restate for {tenant}" in said


@pytest.mark.parametrize("option", [("--grace", "7"), ("--grace", "0d"), ("--max-share", "2")])
def test_what_is_no_use_of_it(payloads: Path, option: tuple[str, str]) -> None:
    assert run("restate", *option).code == 2


def test_a_grace_that_is_too_short(payloads: Path) -> None:
    assert "too short to be safe" in refusal("restate", "--grace", "23h")


def test_the_token_is_sent_and_not_shown(payloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    async def refuse(request: Request) -> Response:
        sent.append(request.headers["authorization"])
        return Response("no", status_code=401)

    monkeypatch.setenv("RESTATE_AUTH_TOKEN", "hunter2")
    keep("inv_gone", engine="restate")
    age(payloads)
    with serving_asgi(Starlette(routes=[Route("/query", refuse, methods=["POST"])])) as port:
        said = refusal("restate", "--admin", f"http://127.0.0.1:{port}", "--delete")
    assert sent == ["Bearer hunter2"]
    assert "says 401: no" in said
    assert "hunter2" not in said + run("restate", "--help").out
