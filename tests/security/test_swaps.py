"""Everything that was written somewhere, put everywhere else: nothing opens but where it belongs."""

from itertools import product

import pytest

from coatcheck import (
    Chain,
    Encrypt,
    IntegrityError,
    Keyring,
    KeyUnavailable,
    Offload,
    PayloadCache,
    Reference,
    Scope,
    Sealing,
    Zstd,
)
from tests.chains import KEY, OTHER_KEY
from tests.security.stores import WatchedStore

SCOPES = [Scope(tenant, run) for tenant in ("tenant-a", "tenant-b") for run in ("run-1", "run-2", None)]
KEYS = [KEY, OTHER_KEY]


def may(written: Scope, read: Scope) -> bool:
    """A tenant's own scope opens for its runs, and its runs' for it."""
    return written.tenant == read.tenant and (written == read or None in (written.run, read.run))


def chains(store: WatchedStore, over: int) -> list[tuple[str, Chain]]:
    sealings: dict[str, tuple[Sealing, ...]] = {key.id.hex(): (Encrypt(Keyring(key)),) for key in KEYS}
    return [
        (name, Chain(Zstd(), *sealing, Offload(store, over=over), cache=PayloadCache(0)))
        for name, sealing in {**sealings, "plain": ()}.items()
    ]


@pytest.mark.parametrize("over", [0, 10_000], ids=["reference", "inline"])
async def test_runs_of_a_series_open_each_others_and_nobody_elses(over: int) -> None:
    store = WatchedStore()
    mine = Scope("tenant-a", "daily-1", "daily")
    for _, chain in chains(store, over):
        for other, opens in (
            (Scope("tenant-a", "daily-2", "daily"), True),
            (Scope("tenant-a", "hourly-1", "hourly"), False),
            (Scope("tenant-a", "daily-1", "hourly"), False),
            (Scope("tenant-a", "daily-1"), False),
            (Scope("tenant-b", "daily-2", "daily"), False),
        ):
            for written_in, read_in in ((mine, other), (other, mine)):
                form = await chain.encode(b"payload " * 20, written_in)
                store.calls.clear()
                if opens:
                    assert await chain.open(form, read_in) == b"payload " * 20
                    continue
                with pytest.raises(IntegrityError):
                    await chain.open(form, read_in)
                assert store.calls == []


@pytest.mark.parametrize("over", [0, 10_000], ids=["reference", "inline"])
async def test_journal_entries(over: int) -> None:
    """Across keys, tenants and runs: 324 ways to put an entry somewhere, of which 42 are where it belongs."""
    store = WatchedStore()
    made = chains(store, over)
    payload = b"payload " * 20
    opened = refused = 0
    for (written_by, writer), written_in in product(made, SCOPES):
        form = await writer.encode(payload, written_in)
        for (read_by, chain), read_in in product(made, SCOPES):
            if written_by == read_by and may(written_in, read_in):
                assert await chain.open(form, read_in) == payload
                opened += 1
                continue
            store.calls.clear()
            with pytest.raises((IntegrityError, KeyUnavailable)):
                await chain.open(form, read_in)
            assert store.calls == []
            refused += 1
    assert (opened, refused) == (42, 282)


@pytest.mark.parametrize("encrypted", [True, False])
async def test_objects(encrypted: bool) -> None:
    """Each object in the place of each other one, of the same run, another run and another tenant."""
    store = WatchedStore()
    sealing = (Encrypt(Keyring(KEY)),) if encrypted else ()

    def chain() -> Chain:
        """A new one each time, which has fetched nothing ahead."""
        return Chain(Zstd(), *sealing, Offload(store, over=0), cache=PayloadCache(0))

    # Of one length: nothing but authentication tells them apart.
    journals = {
        (scope, number): await chain().encode(b"payload %d" % number, scope)
        for scope, number in product(SCOPES, range(2))
    }
    contents = store.contents()
    assert len(contents) == len(journals) == 12
    refused = 0
    for (scope, number), journal in journals.items():
        assert await chain().open(journal, scope) == b"payload %d" % number
        place = f"/{Reference.from_bytes(journal).object_id.hex()}"
        (key,) = (key for key in contents if key.endswith(place))
        for data in (data for other, data in contents.items() if other != key):
            await store.replace(key, data)
            with pytest.raises(IntegrityError):
                await chain().open(journal, scope)
            refused += 1
        await store.replace(key, contents[key])
    assert refused == 12 * 11


async def test_an_inline_envelope_is_no_object_and_an_object_no_envelope() -> None:
    store = WatchedStore()
    inline = Chain(Encrypt(Keyring(KEY)), cache=PayloadCache(0))
    offloading = Chain(Encrypt(Keyring(KEY)), Offload(store, over=0), cache=PayloadCache(0))
    scope = SCOPES[0]
    envelope = await inline.encode(b"payload", scope)
    reference = await offloading.encode(b"payload", scope)
    ((key, data),) = store.contents().items()
    with pytest.raises(IntegrityError):
        await offloading.open(data, scope)
    await store.replace(key, envelope)
    with pytest.raises(IntegrityError):
        await offloading.open(reference, scope)
