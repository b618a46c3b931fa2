"""A copy or a replica of an object can be older than the object, and be there when the object is not.

It says what a payload is, never what is in the store: a run was swept, its name came back, and another process wrote the
same payload anew, whole.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from coatcheck import (
    CachedStore,
    Chain,
    Encrypt,
    FallbackStore,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Store,
    StoreDenied,
    StoredObject,
    Zstd,
)
from coatcheck.format.reference import Reference
from tests.chains import KEY, SCOPE, keys_in
from tests.pipeline.test_deltas import turns


def chain_on(store: Store) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=256), cache=PayloadCache(2**26))


async def swept(store: MemoryStore) -> None:
    for key in await keys_in(store):
        await store.delete(key)


def disk_copies(origin: MemoryStore, folder: Path) -> Store:
    return CachedStore(origin, folder)


def lagging_replica(origin: MemoryStore, folder: Path) -> Store:
    replica = MemoryStore()
    replica._objects = dict(origin._objects)
    return FallbackStore(origin, replica)


@pytest.mark.parametrize("copies", [disk_copies, lagging_replica])
@pytest.mark.parametrize("begins_by", ["reading", "writing"])
@pytest.mark.parametrize("last", range(2, 9))
async def test_an_old_copy_was_believed_about_its_bases(
    copies: Callable[[MemoryStore, Path], Store], begins_by: str, last: int, tmp_path: Path
) -> None:
    origin, forms = MemoryStore(), turns(12)
    first = chain_on(CachedStore(origin, tmp_path) if copies is disk_copies else origin)
    for form in forms[:last]:
        await first.encode(form, SCOPE)
    mirrored = copies(origin, tmp_path)
    await swept(origin)
    # The same run once more, on another machine: its first payload is the one that was last before, so it is whole.
    journals = [await chain_on(origin).encode(forms[last - 1], SCOPE)]

    here = chain_on(mirrored)
    if begins_by == "reading":
        assert await here.open(journals[0], SCOPE) == forms[last - 1]
    else:
        assert await here.encode(forms[last - 1], SCOPE) == journals[0]
    journals += [await here.encode(form, SCOPE) for form in forms[last:]]
    there = chain_on(origin)
    for form, journal in zip(forms[last - 1 :], journals, strict=True):
        assert await there.open(journal, SCOPE) == form


async def test_reading_through_an_old_copy_failed_for_ever(tmp_path: Path) -> None:
    """Its base is gone from the store and from the disk: the copy is dropped, and the object itself fetched."""
    origin, forms = MemoryStore(), turns(3)
    first = chain_on(CachedStore(origin, tmp_path))
    old = [await first.encode(form, SCOPE) for form in forms[:2]]
    assert Reference.from_bytes(old[1]).bases
    base = next(
        key for key in await keys_in(origin) if key.endswith(Reference.from_bytes(old[0]).object_id.hex())
    )
    await swept(origin)
    await CachedStore(origin, tmp_path).forget(base)
    new = await chain_on(origin).encode(forms[1], SCOPE)
    assert not Reference.from_bytes(new).bases
    for journal in (new, old[1]):
        assert await chain_on(CachedStore(origin, tmp_path)).open(journal, SCOPE) == forms[1]


async def test_a_worker_that_never_restarted_believed_its_memory_about_bases() -> None:
    origin, forms = MemoryStore(), turns(8)
    writer = chain_on(origin)
    old = [await writer.encode(form, SCOPE) for form in forms[:4]]
    reader = chain_on(origin)
    assert await reader.open(old[3], SCOPE) == forms[3]  # of what it is built on, only bodies are in memory
    await swept(origin)
    new = [await chain_on(origin).encode(forms[2], SCOPE)]
    assert await reader.open(new[0], SCOPE) == forms[2]
    new += [await reader.encode(form, SCOPE) for form in forms[4:]]
    for form, journal in zip([forms[2], *forms[4:]], new, strict=True):
        assert await chain_on(origin).open(journal, SCOPE) == form


async def test_a_base_that_was_found_to_be_gone_was_still_taken_for_there(tmp_path: Path) -> None:
    """A reader fetched once more without it; then the same process relied on it, and wrote only its reference."""
    origin, forms = MemoryStore(), turns(2)
    first = chain_on(CachedStore(origin, tmp_path))
    old = [await first.encode(form, SCOPE) for form in forms]
    base, last = (Reference.from_bytes(journal).object_id.hex() for journal in old)
    assert Reference.from_bytes(old[1]).bases
    whole = await chain_on(elsewhere := MemoryStore()).encode(forms[1], SCOPE)
    assert not Reference.from_bytes(whole).bases

    mirrored = CachedStore(origin, tmp_path)
    here = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(mirrored, over=256), cache=PayloadCache(0))
    assert await here.encode(forms[0], SCOPE) == old[0]  # found, so it is known to be there
    for key in await keys_in(origin):
        if key.endswith(base):
            await origin.delete(key)
            await mirrored.forget(key)
        elif key.endswith(last):
            await origin.replace(key, await elsewhere.get(key))
    assert await here.open(old[1], SCOPE) == forms[1]
    journal = await here.encode(forms[0], SCOPE)
    assert await chain_on(origin).open(journal, SCOPE) == forms[0]


async def test_what_replaces_a_torn_object_is_whole() -> None:
    """The payloads that it would be a delta against may be built on it by now."""
    store, forms = MemoryStore(), turns(3)
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    key = next(
        key for key in await keys_in(store) if key.endswith(Reference.from_bytes(journals[2]).object_id.hex())
    )
    assert Reference.from_bytes(journals[2]).bases
    await store.replace(key, (await store.get(key))[:-1])
    other = chain_on(store)
    for form, journal in zip(forms[:2], journals[:2], strict=True):
        assert await other.encode(form, SCOPE) == journal
    rewritten = await other.encode(forms[2], SCOPE)
    assert Reference.from_bytes(rewritten).bases == ()
    assert await chain_on(store).open(journals[2], SCOPE) == forms[2]


@pytest.mark.parametrize("listing", ["allowed", "denied"])
async def test_a_delta_that_was_put_back_without_its_base_was_acknowledged(listing: str) -> None:
    """As by somebody who restores one object of a run that was swept."""

    class Denied(MemoryStore):
        async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
            if listing == "denied":
                raise StoreDenied("no", "", prefix)
            async for entry in super().list_objects(prefix):
                yield entry

    store, forms = Denied(), turns(3)
    first = chain_on(store)
    journals = [await first.encode(form, SCOPE) for form in forms]
    backup = dict(store._objects)
    store._objects.clear()
    last = next(key for key in backup if key.endswith(Reference.from_bytes(journals[2]).object_id.hex()))
    assert Reference.from_bytes(journals[2]).bases
    store._objects[last] = backup[last]
    again = await chain_on(store).encode(forms[2], SCOPE)
    assert Reference.from_bytes(again).bases == ()
    assert await chain_on(store).open(again, SCOPE) == forms[2]


async def test_a_copy_hid_that_the_object_itself_is_torn(tmp_path: Path) -> None:
    origin, (form, *_) = MemoryStore(), turns(1)
    await chain_on(CachedStore(origin, tmp_path)).encode(form, SCOPE)
    (key,) = await keys_in(origin)
    await origin.replace(key, (await origin.get(key))[:100])
    journal = await chain_on(CachedStore(origin, tmp_path)).encode(form, SCOPE)
    assert await chain_on(origin).open(journal, SCOPE) == form
