"""A key that cannot be had: an outage, a missing key, a destroyed one, and a service that refuses, told apart."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest
from aiohttp import web
from temporalio.api.common.v1 import Payload

from coatcheck import Chain, Encrypt, Keyring, Scope
from tests.chains import OTHER_KEY, encrypted_chain, plain_chain
from tests.integrations.tenant_keys import KeyWorld, key_worlds
from tests.server.serving import NAMESPACE, Serving, from_json, plain, said, sealed, serving, to_json

LARGE = b'"' + bytes(range(48, 58)) * 500 + b'"'
PAUSE = 61
"""Seconds: above every deadline, so that a service that asks for it is asked once."""
ACTIONS = pytest.mark.parametrize("action", ["decode", "download"])


@pytest.fixture
async def world() -> AsyncIterator[KeyWorld]:
    async with key_worlds() as world:
        yield world


async def asked(server: Serving, action: str, *payloads: Payload) -> httpx.Response:
    # The KMS is on this loop.
    return await asyncio.to_thread(server.post, f"/{action}", to_json(payloads))


async def payloads_of(world: KeyWorld, namespace: str = NAMESPACE) -> list[Payload]:
    async with world.chain(max_age=300) as chain:
        return await sealed(chain, LARGE, scope=Scope(namespace, "run"))


def goes_away(world: KeyWorld) -> None:
    """Have the KMS answer nobody from now on, and ask for a pause."""

    def answer(_: str) -> web.Response:
        answer = world.kms.error(503)
        answer.headers["Retry-After"] = str(PAUSE)
        return answer

    world.kms.fault = answer


@contextmanager
def new_server(world: KeyWorld, **settings: Sequence[str]) -> Iterator[Serving]:
    with serving(world.chain(max_age=300), **settings) as server:
        yield server


@ACTIONS
async def test_a_kms_that_was_away_looked_like_a_missing_key(world: KeyWorld, action: str) -> None:
    payloads = await payloads_of(world)
    goes_away(world)
    with new_server(world) as server:
        answer = await asked(server, action, *payloads)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, str(PAUSE))
        world.comes_back()
        assert from_json(await asked(server, action, *payloads)) == [plain(LARGE)]


async def test_an_outage_hid_what_needs_no_key_of_the_kms(world: KeyWorld) -> None:
    payloads = await payloads_of(world)
    goes_away(world)
    with new_server(world) as server:
        answer = await asked(server, "decode", *payloads, *await sealed(plain_chain(), LARGE))
        placeholder, _ = map(said, from_json(answer))
    assert placeholder["error"] == "KeyServiceError"
    assert "the key service does not answer. Try again." in placeholder["message"]


@ACTIONS
async def test_a_kms_that_refuses_is_not_worth_another_try(world: KeyWorld, action: str) -> None:
    payloads = await payloads_of(world)
    world.kms.fault = lambda _: world.kms.error(403)
    with new_server(world) as server:
        answer = await asked(server, action, *payloads)
    if action == "download":
        assert answer.status_code == 500
        assert "retry-after" not in answer.headers
    else:
        [placeholder] = map(said, from_json(answer))
        assert placeholder["error"] == "KeyServiceError"
        assert "Try again" not in placeholder["message"]


async def test_a_missing_key_is_a_permanent_answer_that_names_it() -> None:
    payloads = await sealed(Chain(Encrypt(Keyring(OTHER_KEY))), LARGE)
    with serving(encrypted_chain()) as server:
        answer = await asked(server, "download", *payloads)
        [placeholder] = map(said, from_json(await asked(server, "decode", *payloads)))
    assert answer.status_code == 400
    assert "retry-after" not in answer.headers
    assert answer.json()["message"] == "The server does not have the key."
    assert answer.json()["key"] == placeholder["key"] == OTHER_KEY.id.hex()


async def test_a_destroyed_key_looked_like_one_that_could_be_added(world: KeyWorld) -> None:
    payloads = await payloads_of(world)
    keys = world.keys()
    [destroyed] = await keys.shred(NAMESPACE)
    await keys.close()
    with new_server(world) as server:
        answer = await asked(server, "download", *payloads)
        [placeholder] = map(said, from_json(await asked(server, "decode", *payloads)))
    assert answer.status_code == 410
    assert answer.json()["key"] == destroyed
    assert "was destroyed" in answer.json()["message"]
    assert (placeholder["error"], placeholder["key"]) == ("KeyDestroyed", destroyed)
    assert "its key was destroyed" in placeholder["message"]
    assert "Add the key" not in placeholder["message"]


@ACTIONS
async def test_an_outage_at_the_other_end_of_nexus_looked_like_a_missing_key(
    world: KeyWorld, action: str
) -> None:
    own, payloads = await payloads_of(world), await payloads_of(world, "billing")
    with new_server(world, nexus_namespaces=["billing", "shipping"]) as server:
        assert from_json(await asked(server, action, *own)) == [plain(LARGE)]
        goes_away(world)
        answer = await asked(server, action, *payloads)
        assert answer.status_code == 503
        world.comes_back()
        assert from_json(await asked(server, action, *payloads)) == [plain(LARGE)]


async def test_a_key_that_was_destroyed_at_the_other_end_of_nexus_looked_like_a_missing_one(
    world: KeyWorld,
) -> None:
    payloads = await payloads_of(world, "billing")
    keys = world.keys()
    await keys.shred("billing")
    await keys.close()
    with new_server(world, nexus_namespaces=["billing"]) as server:
        [placeholder] = map(said, from_json(await asked(server, "decode", *payloads)))
    assert placeholder["error"] == "KeyDestroyed"
