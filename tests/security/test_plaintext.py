"""Plaintext from anyone: believed only where that was said."""

import pytest

from coatcheck import (
    Chain,
    Checkpoints,
    ConfigError,
    Encrypt,
    IntegrityError,
    Keyring,
    Offload,
    Scope,
    Zstd,
)
from coatcheck.runtime.concurrency import all_at_once
from tests.chains import KEY, SCOPE
from tests.security.stores import WatchedStore

PLAIN = [b"", b"{}", b'{"amount": 1000000}', b"\x00" * 100]


def chain_on(store: WatchedStore, *, accept_plain: bool = False) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY), accept_plain=accept_plain), Offload(store, over=64))


@pytest.mark.parametrize("data", PLAIN)
async def test_what_no_chain_wrote_is_refused_and_the_error_says_what_to_do(data: bytes) -> None:
    store = WatchedStore()
    chain = chain_on(store)
    with pytest.raises(IntegrityError, match=r"is in the clear.*Use the same chain where it was written"):
        await chain.decode(data, SCOPE)
    with pytest.raises(IntegrityError, match="is in the clear"):
        await all_at_once(
            chain.decode(payload, SCOPE) for payload in [await chain.encode(b"sealed", SCOPE), data]
        )
    assert await chain_on(store, accept_plain=True).decode(data, SCOPE) == data


@pytest.mark.parametrize("data", PLAIN)
async def test_what_the_chain_wrote_comes_back_however_little_it_is(data: bytes) -> None:
    chain = chain_on(WatchedStore())
    assert await chain.decode(await chain.encode(data, SCOPE), SCOPE) == data


async def test_a_chain_of_the_first_kind_reads_what_a_strict_one_writes() -> None:
    """Roll-outs: the two differ in what they take, not in what they write."""
    store = WatchedStore()
    strict, lenient = chain_on(store), chain_on(store, accept_plain=True)
    journal = await strict.encode(b"payload" * 100, SCOPE)
    assert journal == await lenient.encode(b"payload" * 100, SCOPE)
    assert await lenient.decode(journal, SCOPE) == b"payload" * 100


async def test_checkpoints_have_nothing_plain_to_refuse() -> None:
    store = WatchedStore()
    chain = chain_on(store)
    checkpoints = Checkpoints(chain, run="r", tenant="t")
    reference = await checkpoints.save({"step": 1}, 1)
    assert await Checkpoints(chain, run="r", tenant="t").restore() == {"step": 1}
    [record] = [key for key in store.contents() if "step-" in key]
    await store.replace(record, b'{"version": 1, "step": 1}')
    with pytest.raises(IntegrityError, match="none of the newest"):
        await Checkpoints(chain, run="r", tenant="t").latest()
    assert await checkpoints.restore(reference) == {"step": 1}


def test_what_contradicts_itself_is_refused_before_it_runs() -> None:
    with pytest.raises(ConfigError, match="accept_unsealed=True accepts what anyone can write"):
        Encrypt(Keyring(KEY), accept_plain=False, accept_unsealed=True)
    with pytest.raises(ConfigError, match="accept_plain=False refuses to read them"):
        Chain(Encrypt(Keyring(KEY), accept_plain=False), decode_only=True)


async def test_a_chain_without_keys_takes_everything() -> None:
    assert await Chain(Zstd()).decode(b"plain", Scope("t")) == b"plain"
