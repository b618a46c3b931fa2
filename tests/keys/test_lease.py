"""Keys that outlive their age: within the attempt that they were loaded for, and nowhere else."""

import asyncio
from contextvars import copy_context

from coatcheck.contracts.keys import Key
from coatcheck.keys.key_cache import KeyCache
from coatcheck.keys.lease import KeyLease, current_lease
from coatcheck.runtime.concurrency import off_loop

AGE = 10.0
TENANT = "tenant"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def cached_by(clock: Clock) -> tuple[KeyCache, Key]:
    cache, key = KeyCache(AGE, clock), Key.generate()
    cache.put(TENANT, key, primary=True)
    return cache, key


def test_what_an_attempt_has_asked_for_it_has_until_its_end_and_others_have_it_for_its_age() -> None:
    clock, lease = Clock(), KeyLease()
    cache, key = cached_by(clock)
    with lease.active():
        assert cache.is_fresh(TENANT, None)
        clock.now += 2 * AGE
        assert cache.is_fresh(TENANT, None)
        assert cache.primary_key_id(TENANT) == key.id
        assert cache.key(TENANT, key.id) is key
        assert cache.key_ids(TENANT) == (key.id,)
    assert cache.key(TENANT, key.id) is None
    assert not cache.is_fresh(TENANT, None)
    with KeyLease().active():
        assert cache.primary_key_id(TENANT) is None
    with lease.active():
        lease.end()
        assert cache.primary_key_id(TENANT) is None
        cache.put(TENANT, key, primary=True)
        assert cache.key(TENANT, key.id) is key
        clock.now += 2 * AGE
        assert cache.key(TENANT, key.id) is None, "a task that outlives the attempt keeps nothing"


def test_an_attempt_seals_all_it_has_under_the_key_that_it_began_with() -> None:
    clock = Clock()
    cache, key = cached_by(clock)
    with KeyLease().active():
        assert cache.primary_key_id(TENANT) == key.id
        rotated = Key.generate()
        cache.put(TENANT, rotated, primary=True)
        assert cache.primary_key_id(TENANT) == key.id
        assert cache.key_ids(TENANT) == (key.id, rotated.id)
    assert cache.primary_key_id(TENANT) == rotated.id


def test_the_keys_of_two_sources_are_not_confused() -> None:
    clock = Clock()
    (one, key), (other, another) = cached_by(clock), cached_by(clock)
    with KeyLease().active():
        assert (one.primary_key_id(TENANT), other.primary_key_id(TENANT)) == (key.id, another.id)
        clock.now += 2 * AGE
        assert (one.primary_key_id(TENANT), other.primary_key_id(TENANT)) == (key.id, another.id)


async def test_work_that_was_sent_to_a_thread_did_not_know_whose_it_was() -> None:
    lease = KeyLease()
    with lease.active():
        assert await off_loop(2, 1, current_lease) is lease
        assert await off_loop(1, 1, current_lease) is lease
        assert await asyncio.create_task(_current()) is lease
    assert await off_loop(2, 1, current_lease) is None
    assert copy_context().run(current_lease) is None


async def _current() -> KeyLease | None:
    return current_lease()
