"""The payload store by itself: whose tokens open, which settings are refused, what others' tokens may name."""

import asyncio
import json
import random

import pytest
from durabletask.payload import LargePayloadStorageOptions, PayloadStore

from coatcheck import (
    Chain,
    ConfigError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    MemoryStore,
    Offload,
    PayloadCache,
    Rule,
    Scope,
    StoreDenied,
    Zstd,
)
from coatcheck.integrations.durabletask import BlobReader, ClaimCheckPayloadStore
from coatcheck.integrations.durabletask.pace import Pace
from coatcheck.integrations.durabletask.tokens import from_token, from_value
from tests.chains import encrypted_chain
from tests.integrations.durabletask.hub import payloads_on

PROSE = random.Random(1).randbytes(50_000).hex().encode()
"""Does not stay inline."""
LARGE = bytes(range(32, 127)) * 100


def test_a_payload_is_one_token_for_ever_in_the_scope_of_its_instance() -> None:
    memory = MemoryStore()
    store = payloads_on(memory)
    token = store.upload(PROSE, instance_id="order-1")
    assert asyncio.run(store.upload_async(PROSE, instance_id="order-1")) == token
    assert store.upload(PROSE, instance_id="order-2") != token
    assert len(memory._objects) == 2
    assert store.is_known_token(token)
    assert len(token) < 160
    sealed = from_token(token)
    assert sealed
    scope = Scope("default", "order-1", engine="durabletask")
    assert asyncio.run(payloads_on(memory).chain.open(sealed, scope)) == PROSE
    with pytest.raises(IntegrityError):
        asyncio.run(store.chain.open(sealed, Scope("default", "order-2", engine="durabletask")))


def test_a_token_opens_for_its_tenant_only_and_unchanged_only() -> None:
    memory = MemoryStore()
    token = payloads_on(memory).upload(LARGE, instance_id="order-1")
    assert payloads_on(memory).download(token) == LARGE
    assert asyncio.run(payloads_on(memory).download_async(token)) == LARGE
    with pytest.raises(IntegrityError):
        payloads_on(memory, tenant="other").download(token)
    other = "A" if token[-5] != "A" else "B"
    with pytest.raises((IntegrityError, FormatError)):
        payloads_on(memory).download(token[:-5] + other + token[-4:])
    with pytest.raises(FormatError, match="no token of a payload store"):
        payloads_on(memory).download("coatcheck:nothing")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"hello"',
        "coatcheck:",
        "coatcheck:hello",
        "blob:v1:payloads:a",
        '{"__coatcheck__":"x"}',
        "@notes@1",
    ],
)
def test_what_only_looks_like_a_token_is_a_payload(text: str) -> None:
    assert not payloads_on(MemoryStore()).is_known_token(text)


def test_a_value_that_looks_sealed_comes_back_as_it_was() -> None:
    store = payloads_on(MemoryStore())
    convert = store.converter()
    sealed = convert.serialize({"a": 1})
    assert sealed is not None
    assert from_value(sealed)
    for value in (
        sealed,
        {"__coatcheck__": sealed},
        store.upload(LARGE),
        None,
        "",
        0,
        {"__coatcheck__": "x"},
    ):
        assert convert.deserialize(convert.serialize(value)) == value
    inside = json.loads(sealed)  # a dict that is, as JSON, a sealed value
    assert convert.deserialize(convert.serialize(inside)) == inside


def test_a_chain_that_only_decodes_leaves_payloads_as_they_are() -> None:
    memory = MemoryStore()
    token = payloads_on(memory).upload(LARGE, instance_id="order-1")
    chain = encrypted_chain(memory)
    rolled_back = ClaimCheckPayloadStore(Chain(*chain._steps, decode_only=True))
    assert rolled_back.upload(LARGE, instance_id="order-1") == LARGE.decode()
    assert rolled_back.converter().serialize("small") == '"small"'
    assert rolled_back.download(token) == LARGE


def test_a_chain_without_keys_stores_what_is_large() -> None:
    memory = MemoryStore()
    store = ClaimCheckPayloadStore(Chain(Zstd(), Offload(memory, over=256), cache=PayloadCache(0)))
    token = store.upload(LARGE, instance_id="order-1")
    assert store.download(token) == LARGE
    assert store.converter().serialize("small") == '"small"'


def test_rules_know_instances() -> None:
    memory = MemoryStore()
    chain = Chain(Zstd(), Offload(memory, over=0), rules=[Rule("instance:@notes@*", inline=True)])
    store = ClaimCheckPayloadStore(chain)
    store.upload(LARGE, instance_id="@notes@1")
    assert not memory._objects
    store.upload(LARGE, instance_id="order-1")
    assert memory._objects


def test_settings_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not show small payloads"):
        ClaimCheckPayloadStore(encrypted_chain(accept_plain=False))
    with pytest.raises(ConfigError, match="would be replaced by tokens"):
        ClaimCheckPayloadStore(encrypted_chain(), threshold=100)
    with pytest.raises(ConfigError, match="name of a container"):
        BlobReader(Blobs({}), container="a:b")


def test_a_client_does_not_wait_for_a_dead_store() -> None:
    class Dead(MemoryStore):
        async def create(self, key: str, data: bytes) -> bool:
            raise StoreDenied("no", "", key)

    store = payloads_on(Dead())
    with pytest.raises(StoreDenied):
        asyncio.run(store.upload_async(random.Random(1).randbytes(350_000).hex().encode(), instance_id="a"))
    with pytest.raises(StoreDenied):
        store.for_clients().upload(random.Random(1).randbytes(350_000).hex().encode(), instance_id="a")
    with pytest.raises(LimitExceeded):
        ClaimCheckPayloadStore(Chain(Zstd(), max_payload=10)).upload(LARGE, instance_id="a")


class Blobs(PayloadStore):
    """Has the tokens of the SDK's BlobPayloadStore, and reads as that one does from any container that is named."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._blobs = blobs

    @property
    def options(self) -> LargePayloadStorageOptions:
        return LargePayloadStorageOptions()

    def upload(self, data: bytes, *, instance_id: str | None = None) -> str:
        raise NotImplementedError

    async def upload_async(self, data: bytes, *, instance_id: str | None = None) -> str:
        raise NotImplementedError

    def download(self, token: str) -> bytes:
        return self._blobs[token]

    async def download_async(self, token: str) -> bytes:
        return self._blobs[token]

    def is_known_token(self, value: str) -> bool:
        return value.startswith("blob:v1:")


def test_blobs_are_read_from_the_container_that_was_named_and_no_other() -> None:
    ours, theirs = "blob:v1:payloads:order-1/abc", "blob:v1:secrets:order-1/abc"
    reader = BlobReader(Blobs({ours: LARGE, theirs: b"secret"}), container="payloads")
    store = payloads_on(MemoryStore(), read_also=[reader])
    assert store.is_known_token(ours)
    assert store.download(ours) == LARGE
    assert asyncio.run(store.download_async(ours)) == LARGE
    assert not store.is_known_token(theirs)
    assert not store.is_known_token("blob:v1:payloads:")
    with pytest.raises(FormatError):
        store.download(theirs)


def test_the_pace_remembers_so_many_failures_only() -> None:
    pace = Pace()
    for number in range(3000):
        pace.failed(str(number))
    assert len(pace._failures) == 1024
    pace.succeeded("2999")
    pace.wait("2999")
