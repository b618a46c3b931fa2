"""Verification finds what cannot be brought back, names it, and finds nothing else."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import CachedStore, Chain, Checkpoints, MemoryStore, Scope, Store
from coatcheck.audit.verification import Findings, Verification
from coatcheck.errors import FormatError, IntegrityError, PayloadNotFound
from coatcheck.format.reference import Reference
from tests.retention.sweeping import TENANT, chain_on, keys_of


def turns(count: int) -> list[bytes]:
    source = random.Random(7)
    parts = [source.randbytes(900) for _ in range(count)]
    return [b"\x80" + b"".join(parts[: turn + 1]) for turn in range(count)]


async def filled() -> MemoryStore:
    """A run of five payloads, one of the tenant, and a run with three checkpoints."""
    store = MemoryStore()
    chain = chain_on(store)
    for payload in turns(5):
        await chain.encode(payload, Scope(TENANT, "run"))
    await chain.encode(turns(1)[0], Scope(TENANT))
    checkpoints = Checkpoints(chain, run="agent", tenant=TENANT)
    for step, state in enumerate(turns(3)):
        await checkpoints.save(state, step)
    return store


async def verified(store: Store, **arguments: object) -> Findings:
    return await Verification(chain_on(store), (TENANT,), **arguments).findings()  # type: ignore[arg-type]


async def test_everything_is_opened() -> None:
    store = await filled()
    told: list[int] = []
    found = await verified(store, progress=lambda _, count: told.append(count))
    assert (found.objects, found.records, found.problems, found.left_out) == (9, 3, [], 0)
    assert found.payload_bytes == sum(map(len, turns(5))) + len(turns(1)[0]) + sum(map(len, turns(3)))
    assert found.stored_bytes == sum([entry.size async for entry in store.list_objects()])
    assert max(told) == 12


async def test_one_run_alone() -> None:
    found = await verified(await filled(), scopes=[Scope(TENANT, "agent", engine="checkpoints")])
    assert (found.objects, found.records) == (3, 3)


async def test_what_these_keys_do_not_name_is_counted() -> None:
    store = await filled()
    await chain_on(store).encode(turns(1)[0], Scope("another tenant", "run"))
    found = await verified(store)
    assert (found.objects, found.unnamed, found.is_empty) == (9, 1, False)
    strangers = await Verification(chain_on(store), ("nobody",)).findings()
    assert (strangers.objects, strangers.unnamed, strangers.is_empty) == (0, 13, True)


async def test_an_object_that_was_replaced_by_a_giant_is_a_problem_and_is_not_read() -> None:
    store = await filled()
    key = next(key for key in await keys_of(store) if len(key.rpartition("/")[2]) == 64)
    limit = chain_on(store).stores[0].limit
    await store.replace(key, bytes(limit + 1))
    (problem,) = (await verified(store)).problems
    assert problem.key == key
    assert f"{limit + 1} bytes" in str(problem.error)


async def test_a_sound_copy_hid_that_the_object_itself_is_damaged(tmp_path: Path) -> None:
    origin = MemoryStore()
    cached = CachedStore(origin, tmp_path)
    await chain_on(cached).encode(turns(1)[0], Scope(TENANT, "run"))
    (key,) = await keys_of(origin)
    await origin.replace(key, (await origin.get(key))[:-1])
    assert [problem.key for problem in (await verified(CachedStore(origin, tmp_path))).problems] == [key]


async def test_a_sample() -> None:
    store = await filled()
    nothing = await verified(store, sample=0.0)
    assert (nothing.objects, nothing.left_out) == (0, 12)
    some = await verified(store, sample=0.5)
    assert some.objects + some.records + some.left_out == 12


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (flipped, IntegrityError),
        (lambda data: data[:20], FormatError),
        (lambda _: b"something else", FormatError),
    ],
)
async def test_every_damaged_object_is_named(
    damage: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    clean = await filled()
    for key in await keys_of(clean):
        store = await filled()
        await store.replace(key, damage(await store.get(key)))
        found = await verified(store)
        assert key in {problem.key for problem in found.problems}
        assert {type(problem.error) for problem in found.problems if problem.key == key} == {error}
        # Besides it only what is a delta against it.
        assert found.objects + found.records + len(found.problems) == 12


async def test_a_missing_base_is_named_by_all_that_need_it() -> None:
    store = MemoryStore()
    chain = chain_on(store)
    journal = [await chain.encode(payload, Scope(TENANT, "run")) for payload in turns(5)]
    references = [Reference.from_bytes(one) for one in journal]
    base = references[0].object_id
    (key,) = [key for key in await keys_of(store) if key.endswith(base.hex())]
    await store.delete(key)
    found = await verified(store)
    assert len(found.problems) == sum(base in reference.bases for reference in references) > 1
    for problem in found.problems:
        assert isinstance(problem.error, PayloadNotFound)
        assert base.hex() in str(problem.error)


async def test_a_record_that_was_planted_is_named() -> None:
    store = await filled()
    key = next(key for key in await keys_of(store) if "/step-" in key)
    planted = key[:-16] + "0" * 16
    await store.replace(planted, await store.get(key))
    found = await verified(store)
    assert [problem.key for problem in found.problems] == [planted]
    assert (found.objects, found.records) == (9, 3)


async def test_a_checkpoint_whose_state_is_gone_is_named() -> None:
    store = MemoryStore()
    reference = await Checkpoints(chain_on(store), run="agent", tenant=TENANT).save(turns(1)[0], 0)
    (key,) = [key for key in await keys_of(store) if key.endswith(reference.object_id.hex())]
    await store.delete(key)
    (problem,) = (await verified(store)).problems
    assert "/step-99999999" in problem.key
    assert reference.object_id.hex() in str(problem.error)


async def test_an_object_under_another_ones_name_is_found() -> None:
    store = await filled()
    objects = [key for key in await keys_of(store) if len(key.rpartition("/")[2]) == 64]
    await store.replace(objects[0], await store.get(objects[1]))
    assert objects[0] in {problem.key for problem in (await verified(store)).problems}


async def test_an_object_of_a_chain_without_keys_that_holds_another_payload_is_found() -> None:
    """Nothing but its name tells: its checksum is right."""
    store = MemoryStore()
    from coatcheck import Offload, Zstd  # noqa: PLC0415 - one test of this file needs them

    def chain() -> Chain:
        return Chain(Zstd(), Offload(store, over=256))

    first, second = turns(2)
    await chain().encode(first, Scope(TENANT, "run"))
    (key,) = await keys_of(store)
    assert (await Verification(chain(), (TENANT,)).findings()).problems == []
    await store.delete(key)
    await chain().encode(second, Scope(TENANT, "run"))
    (other,) = await keys_of(store)
    await store.create(key, await store.get(other))
    found = await Verification(chain(), (TENANT,)).findings()
    assert [problem.key for problem in found.problems] == [key]


@given(gone=st.sets(st.integers(0, 11)))
@settings(max_examples=30, deadline=None)
async def test_what_is_there_opens_if_all_its_bases_are_there(gone: set[int]) -> None:
    store = await filled()
    for number, key in enumerate(await keys_of(store)):
        if number in gone:
            await store.delete(key)
    found = await verified(store)
    assert found.objects + found.records + len(found.problems) == 12 - len(gone)
    assert all(isinstance(problem.error, PayloadNotFound) for problem in found.problems)
