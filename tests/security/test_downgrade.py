"""Versions, kinds, suites and keys that a message claims: the policy decides, and nothing is fetched for the others."""

import pytest

from coatcheck import (
    Chain,
    CoatcheckError,
    Encrypt,
    FormatError,
    IntegrityError,
    Keyring,
    KeyUnavailable,
    Offload,
    PayloadCache,
    Scope,
    Zstd,
)
from tests.chains import KEY, OTHER_KEY, SCOPE
from tests.security.stores import WatchedStore

VERSION_AT, KIND_AT, SUITE_AT, KEY_AT, RUN_AT = 4, 5, 6, 7, 11
PAYLOAD = b"payload " * 20
FORMS = pytest.mark.parametrize("over", [0, 10_000], ids=["reference", "envelope"])


def chain_on(store: WatchedStore, over: int, *, accept_unsealed: bool = False) -> Chain:
    encrypt = Encrypt(Keyring(KEY), accept_unsealed=accept_unsealed)
    return Chain(Zstd(), encrypt, Offload(store, over=over), cache=PayloadCache(0))


def put(form: bytes, at: int, data: bytes) -> bytes:
    return form[:at] + data + form[at + len(data) :]


@FORMS
@pytest.mark.parametrize("at", [VERSION_AT, KIND_AT, SUITE_AT], ids=["version", "kind", "suite"])
async def test_every_other_value_is_refused(over: int, at: int) -> None:
    store = WatchedStore()
    chain = chain_on(store, over)
    form = await chain.encode(PAYLOAD, SCOPE)
    store.calls.clear()
    for value in range(256):
        if value == form[at]:
            continue
        with pytest.raises(CoatcheckError) as caught:
            await chain.open(put(form, at, bytes([value])), SCOPE)
        if at == SUITE_AT and value == 0:
            assert type(caught.value) is IntegrityError
            assert "not encrypted" in str(caught.value)
        else:
            assert type(caught.value) is FormatError
    assert store.calls == []


@FORMS
async def test_a_key_that_is_not_held_is_named_and_no_other_is_tried(over: int) -> None:
    store = WatchedStore()
    chain = chain_on(store, over)
    form = await chain.encode(PAYLOAD, SCOPE)
    store.calls.clear()
    with pytest.raises(KeyUnavailable, match=OTHER_KEY.id.hex()):
        await chain.open(put(form, KEY_AT, OTHER_KEY.id), SCOPE)
    assert store.calls == []


@FORMS
@pytest.mark.parametrize("scope", [SCOPE, Scope(SCOPE.tenant)], ids=["run", "tenant"])
async def test_a_run_is_not_widened_to_its_tenant(over: int, scope: Scope) -> None:
    store = WatchedStore()
    chain = chain_on(store, over)
    form = await chain.encode(PAYLOAD, SCOPE)
    store.calls.clear()
    with pytest.raises(IntegrityError):
        await chain.open(put(form, RUN_AT, bytes(16)), scope)
    assert store.calls == []


@FORMS
async def test_what_is_sealed_properly_as_unsealed_needs_the_word(over: int) -> None:
    """Suite 0 needs no key: a forger's form is as good as one of ours, and only the policy tells them apart."""
    store = WatchedStore()
    forger = Chain(Zstd(), Offload(store, over=over), cache=PayloadCache(0))
    form = await forger.encode(PAYLOAD, SCOPE)
    store.calls.clear()
    with pytest.raises(IntegrityError, match="not encrypted"):
        await chain_on(store, over).open(form, SCOPE)
    assert store.calls == []
    assert await chain_on(store, over, accept_unsealed=True).open(form, SCOPE) == PAYLOAD


@pytest.mark.parametrize("accept_unsealed", [False, True])
async def test_an_unsealed_object_never_stands_in_for_a_sealed_one(accept_unsealed: bool) -> None:
    store, elsewhere = WatchedStore(), WatchedStore()
    chain = chain_on(store, 0, accept_unsealed=accept_unsealed)
    form = await chain.encode(PAYLOAD, SCOPE)
    await Chain(Offload(elsewhere, over=0), cache=PayloadCache(0)).encode(b"another", SCOPE)
    ((key, _),), ((_, forged),) = store.contents().items(), elsewhere.contents().items()
    await store.replace(key, forged)
    with pytest.raises(IntegrityError):
        await chain.open(form, SCOPE)


def test_unsealed_payloads_are_accepted_by_name_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        Encrypt(Keyring(KEY), True)  # type: ignore[call-arg]
