"""The cache: bounded, least recently used first, counted."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from coatcheck import PayloadCache

KEYS = "abcdefgh"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS), st.integers(0, 60)), max_size=200))
def test_it_behaves_like_a_model(calls: list[tuple[bool, str, int]]) -> None:
    cache, model, hits, misses = PayloadCache(100), OrderedDict[str, bytes](), 0, 0
    for put, key, size in calls:
        if put:
            cache.put(key, bytes(size))
            if size <= 50:
                model.pop(key, None)
                model[key] = bytes(size)
                while sum(map(len, model.values())) > 100:
                    model.popitem(last=False)
        else:
            assert cache.get(key) == model.get(key)
            hits, misses = hits + (key in model), misses + (key not in model)
            if key in model:
                model.move_to_end(key)
        assert cache.stats.size == sum(map(len, model.values())) <= 100
    assert (cache.stats.hits, cache.stats.misses) == (hits, misses)
    cache.clear()
    assert cache.stats.size == 0
