"""What is read beside what a chain wrote, what is refused, and what errors say."""

import asyncio
import json
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    IntegrityError,
    Keyring,
    MemoryStore,
    Offload,
    PayloadNotFound,
    Zstd,
)
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.chains import KEY, OTHER_KEY
from tests.engines.postgres import PostgresServer
from tests.integrations.langgraph.graphs import loop, said
from tests.integrations.langgraph.savers import chain_on, keys_in, synchronous, whole_sqlite
from tests.integrations.langgraph.test_graphs import config

KINDS = ["memory", "sqlite", "postgres"]


class Cipher(CipherProtocol):
    """A cipher of a third party."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "own", AESGCM(bytes(16)).encrypt(bytes(12), plaintext, None)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "own"
        return AESGCM(bytes(16)).decrypt(bytes(12), ciphertext, None)


def turn(saver: BaseCheckpointSaver[Any], n: int) -> Any:
    return loop().compile(checkpointer=saver).invoke({"messages": [said(("in", n))]}, config("t"))


@pytest.mark.parametrize("encrypts", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_goes_on_from_what_the_saver_wrote_before(
    kind: str, postgres_server: PostgresServer, *, encrypts: bool
) -> None:
    plain = InMemorySaver()
    expected = [turn(plain, n) for n in range(4)]
    with synchronous(kind, postgres_server) as saver:
        if encrypts:
            saver.serde = EncryptedSerializer(Cipher())
        assert [turn(saver, n) for n in range(2)] == expected[:2]
        before = list(saver.list(config("t")))
        ours = ClaimCheckSaver(saver, chain_on())
        assert [turn(ours, n) for n in range(2, 4)] == expected[2:]
        assert list(ours.list(config("t")))[-len(before) :] == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_no_step_changed_since_the_switch_is_not_lost(
    kind: str, postgres_server: PostgresServer
) -> None:
    """PostgreSQL's saver keeps numbers and texts in the checkpoint, and all else once for each version."""
    with synchronous(kind, postgres_server) as saver:
        first = {
            **empty_checkpoint(),
            "channel_values": {"a": 7, "b": [1]},
            "channel_versions": {"a": "1", "b": "1"},
        }
        start: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        at = saver.put(start, first, {"step": 0}, {"a": "1", "b": "1"})  # type: ignore[arg-type]
        ours = ClaimCheckSaver(saver, chain_on())
        second = {
            **empty_checkpoint(),
            "channel_values": {"a": 7, "b": [1, 2]},
            "channel_versions": {"a": "1", "b": "2"},
        }
        ours.put(at, second, {"step": 1}, {"b": "2"})  # type: ignore[arg-type]
        latest, earlier = ours.list(start)
        assert latest.checkpoint["channel_values"] == {"a": 7, "b": [1, 2]}
        assert earlier.checkpoint["channel_values"] == {"a": 7, "b": [1]}


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("encrypts", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saver_without_a_chain_fails_where_it_meets_an_encoded_value(
    kind: str, postgres_server: PostgresServer, *, encrypts: bool, keys: bool
) -> None:
    with synchronous(kind, postgres_server) as saver:
        if encrypts:
            saver.serde = EncryptedSerializer(Cipher())
        sealing = [Encrypt(Keyring(KEY))] if keys or encrypts else []
        turn(ClaimCheckSaver(saver, Chain(Zstd(), *sealing, Offload(MemoryStore()))), 0)
        with pytest.raises(NotImplementedError, match="coatcheck"):
            saver.get_tuple(config("t"))
        with pytest.raises(NotImplementedError, match="coatcheck"):
            list(saver.list(config("t")))
        with pytest.raises(NotImplementedError, match="coatcheck"):
            turn(saver, 1)


def test_what_stands_in_the_database_is_sealed_but_for_what_savers_need() -> None:
    saver = whole_sqlite()
    app = loop().compile(checkpointer=ClaimCheckSaver(saver, chain_on(over=10**6), clear=["tier"]))
    app.invoke(
        {"messages": ["the secret word"]},
        {
            "configurable": {"thread_id": "t", "account": "a secret account", "tier": "gold"},
            "metadata": {"note": "a secret note"},
        },
    )
    rows = [
        *saver.conn.execute("SELECT checkpoint, metadata FROM checkpoints"),
        *saver.conn.execute("SELECT value, task_path FROM writes"),
    ]
    assert len(rows) > 4
    assert b"secret" not in b"".join(
        bytes(part) if isinstance(part, bytes) else part.encode() for row in rows for part in row
    )
    metadata = [json.loads(row) for (row,) in saver.conn.execute("SELECT metadata FROM checkpoints")]
    assert all(row["tier"] == "gold" and "account" not in row and row["step"] >= -1 for row in metadata)
    found = list(app.checkpointer.list(None, filter={"note": "a secret note", "tier": "gold"}, limit=2))  # type: ignore[union-attr]
    assert [cast("Any", one.metadata)["account"] for one in found] == ["a secret account"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_object_names_thread_checkpoint_and_channel(
    kind: str, postgres_server: PostgresServer
) -> None:
    store = MemoryStore()
    with synchronous(kind, postgres_server) as saver:
        turn(ClaimCheckSaver(saver, chain_on(store)), 0)
        for key in asyncio.run(keys_in(store)):
            asyncio.run(store.delete(key))
        # As another process, with a cache of its own.
        ours = ClaimCheckSaver(saver, chain_on(store))
        with pytest.raises(
            PayloadNotFound, match=r"channel 'messages' of checkpoint [0-9a-f-]{36} of thread 't'"
        ) as raised:
            ours.get_tuple(config("t"))
        assert raised.value.object_id


def test_another_key_another_tenant_and_no_store_are_clear_errors() -> None:
    saver, store = InMemorySaver(), MemoryStore()
    turn(ClaimCheckSaver(saver, chain_on(store)), 0)
    others: list[tuple[type[Exception], ClaimCheckSaver]] = [
        (IntegrityError, ClaimCheckSaver(saver, chain_on(store), tenant="other")),
        (ConfigError, ClaimCheckSaver(saver, Chain(Zstd(), Encrypt(Keyring(KEY))))),
    ]
    for error, other in others:
        with pytest.raises(error, match="of thread 't'"):
            other.get_tuple(config("t"))
    stranger = Chain(Zstd(), Encrypt(Keyring(OTHER_KEY)), Offload(store))
    with pytest.raises(Exception, match="of thread 't'"):
        ClaimCheckSaver(saver, stranger).get_tuple(config("t"))


def test_what_is_not_sealed_is_refused_where_a_chain_takes_nothing_else() -> None:
    saver = InMemorySaver()
    turn(saver, 0)
    strict = ClaimCheckSaver(saver, chain_on(accept_plain=False))
    with pytest.raises(IntegrityError, match=r"of thread 't' is in the clear"):
        strict.get_tuple(config("t"))
    strict.delete_thread("t")
    assert turn(strict, 0)["turn"] == 1
    assert len(list(strict.list(config("t")))) == 3


def test_a_saver_that_encrypts_gets_no_chain_that_does_not() -> None:
    saver = InMemorySaver(serde=EncryptedSerializer(Cipher()))
    with pytest.raises(ConfigError, match="Encrypt"):
        ClaimCheckSaver(saver, Chain(Zstd(), Offload(MemoryStore())))
    with pytest.raises(ConfigError, match="chain already"):
        ClaimCheckSaver(ClaimCheckSaver(saver, chain_on()), chain_on())


def test_a_chain_that_only_decodes_writes_what_the_saver_reads_alone() -> None:
    saver, store = InMemorySaver(), MemoryStore()
    turn(ClaimCheckSaver(saver, chain_on(store)), 0)
    back = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), decode_only=True)
    expected = turn(ClaimCheckSaver(saver, back), 1)
    assert loop().compile(checkpointer=saver).get_state(config("t")).values == expected
