"""The serializer by itself, outside of workflows."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOSPortableJSONSerializer, Serializer

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    FormatError,
    IntegrityError,
    Keyring,
    LimitExceeded,
    MemoryStore,
    Offload,
    Zstd,
)
from coatcheck.format.shown import MESSAGE, sealed_in_text
from coatcheck.format.wire import is_reference
from coatcheck.integrations.dbos import ClaimCheckSerializer, recent
from coatcheck.retention.live import run_tags_in
from coatcheck.runtime.clock import boottime
from tests.chains import KEY
from tests.integrations.dbos.agents import TENANT, chain_on, serializer_on, text


class Own(Serializer):
    """What a team had before."""

    def serialize(self, data: Any) -> str:
        return str(data)

    def deserialize(self, serialized_data: str) -> Any:
        return serialized_data

    def name(self) -> str:
        return "own"


class Untouched(MemoryStore):
    """Not to be asked for anything."""

    async def create(self, key: str, data: bytes) -> bool:
        pytest.fail("a request")


def test_what_comes_from_outside_has_a_scope_of_its_own_for_each_payload() -> None:
    store = MemoryStore()
    first, again, other = (serializer_on(store).serialize(text(name)) for name in ("a", "a", "b"))
    assert first == again
    tags = [set(run_tags_in(written.encode())) for written in (first, other)]
    assert [len(found) for found in tags] == [1, 1]
    assert tags[0] != tags[1]
    assert serializer_on(store).deserialize(other) == text("b")


def test_tools_read_what_stands_in_the_database() -> None:
    sealed = sealed_in_text(serializer_on(MemoryStore()).serialize(text("a")))
    assert sealed is not None
    assert is_reference(sealed)


async def test_the_event_loop_waits_for_no_store() -> None:
    serializer = serializer_on(Untouched())
    written = serializer.serialize(text("a"))
    assert len(written) > 5000
    assert serializer.deserialize(written) == text("a")


async def test_the_event_loop_uses_a_reference_that_is_known() -> None:
    serializer = serializer_on(MemoryStore())
    written = await asyncio.to_thread(serializer.serialize, text("a"))
    assert serializer.serialize(text("a")) == written


def test_a_reference_is_not_used_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    found = recent.RecentReferences()
    found.add(b"payload", b"reference")
    assert found.find(b"payload") == b"reference"
    now = boottime()
    monkeypatch.setattr(recent, "boottime", lambda: now + 601)
    assert found.find(b"payload") is None


def test_references_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_MAX_COUNT", 3)
    found = recent.RecentReferences()
    for number in range(5):
        found.add(bytes([number]), b"reference")
    assert [found.find(bytes([number])) is not None for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("value", [text("a"), "", f"{MESSAGE}", f"{MESSAGE}=x", f"{MESSAGE}wKfE7A", "\ud800"])
def test_another_serializer_underneath(value: str) -> None:
    for steps in ((Zstd(), Encrypt(Keyring(KEY)), Offload(MemoryStore())), (Zstd(),)):
        serializer = ClaimCheckSerializer(Chain(*steps), inner=Own())
        assert serializer.name() == "own"
        assert serializer.deserialize(serializer.serialize(value)) == value
    assert ClaimCheckSerializer(Chain(Zstd()), inner=Own()).deserialize("of before") == "of before"


def test_a_serializer_that_dbos_would_not_ask_is_refused() -> None:
    with pytest.raises(ConfigError, match="portable_json"):
        ClaimCheckSerializer(Chain(Zstd()), inner=DBOSPortableJSONSerializer())


def test_a_value_that_is_not_what_was_sealed() -> None:
    store = MemoryStore()
    written = serializer_on(store).serialize(text("a"))
    with pytest.raises(FormatError, match="damaged"):
        serializer_on(store).deserialize(written[:-1] + "!")
    for forged in (written[:-3] + ("AAA" if written[-3:] != "AAA" else "BBB"),):
        with pytest.raises((IntegrityError, FormatError)):
            serializer_on(store).deserialize(forged)
    with pytest.raises(IntegrityError):
        ClaimCheckSerializer(chain_on(store), tenant="other").deserialize(written)


def test_a_plain_value_where_only_sealed_ones_are_taken() -> None:
    plain = ClaimCheckSerializer(Chain(Zstd())).serialize(1)
    strict = Chain(Zstd(), Encrypt(Keyring(KEY), accept_plain=False))
    with pytest.raises(IntegrityError, match="in the clear"):
        ClaimCheckSerializer(strict, tenant=TENANT).deserialize(plain)
    assert ClaimCheckSerializer(Chain(Zstd(), Encrypt(Keyring(KEY)))).deserialize(plain) == 1


def test_a_value_that_is_too_large(tmp_path: Path) -> None:
    chain = Chain(Zstd(), Offload(MemoryStore()), max_payload=1000)
    with pytest.raises(LimitExceeded):
        ClaimCheckSerializer(chain).serialize(text("a"))
