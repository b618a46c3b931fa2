"""The cache: bounded, least recently used first, counted."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from coatcheck import PayloadCache
from coatcheck.format.envelope import Body, EnvelopeHeader

KEYS = "abcdefgh"
PUT, PUT_BODY, GET, HELD = "put", "put body", "get", "held"


def body(size: int) -> Body:
    return Body(bytes(32), EnvelopeHeader(1, bytes(4), bytes(16), ("zstd",), 10 * size), bytes(size))


def size_of(held: bytes | Body) -> int:
    return len(held.data) if isinstance(held, Body) else len(held)


@given(
    st.lists(
        st.tuples(st.sampled_from([PUT, PUT_BODY, GET, HELD]), st.sampled_from(KEYS), st.integers(1, 60)),
        max_size=200,
    )
)
def test_it_behaves_like_a_model(calls: list[tuple[str, str, int]]) -> None:
    cache, model, hits, misses = PayloadCache(100), OrderedDict[str, bytes | Body](), 0, 0
    for call, key, size in calls:
        before = model.get(key)
        if call in (PUT, PUT_BODY):
            new = bytes(size) if call == PUT else body(size)
            cache.put(key, new)
            if size <= 50 and (call == PUT or not isinstance(before, bytes)):
                model.pop(key, None)
                model[key] = new
                while sum(map(size_of, model.values())) > 100:
                    model.popitem(last=False)
        else:
            expected = before if call == HELD or isinstance(before, bytes) else None
            assert (cache.held(key) if call == HELD else cache.get(key)) is expected
            hits, misses = hits + (key in model), misses + (key not in model)
            if key in model:
                model.move_to_end(key)
        assert cache.stats.size == sum(map(size_of, model.values())) <= 100
    assert (cache.stats.hits, cache.stats.misses) == (hits, misses)
    cache.clear()
    assert cache.stats.size == 0
