"""The cache: bounded, least recently used first, counted."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from coatcheck import PayloadCache
from coatcheck.format.envelope import Body, EnvelopeHeader
from coatcheck.storage.cache import cost_of

KEYS = "abcdefgh"
OWNERS = ("one store", "another")
MOST = 2000
CALLS = ("put", "put_body", "get", "find")

Entry = tuple[bytes | Body, str]


def body(size: int) -> Body:
    return Body(bytes(32), EnvelopeHeader(1, bytes(4), bytes(16), ("zstd",), 10 * size), bytes(size))


def size_of(entry: Entry) -> int:
    return cost_of(entry[0])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(CALLS), st.sampled_from(KEYS), st.sampled_from(OWNERS), st.integers(0, 700)
        ),
        max_size=200,
    )
)
def test_it_behaves_like_a_model(calls: list[tuple[str, str, str, int]]) -> None:
    cache, model, hits, misses = PayloadCache(MOST), OrderedDict[str, Entry](), 0, 0
    for call, key, owner, size in calls:
        before, its_owner = model.get(key, (None, ""))
        if call in ("put", "put_body"):
            new = bytes(size) if call == "put" else body(size)
            if isinstance(new, Body):
                cache.put_body(key, new, owner)
            else:
                cache.put(key, new)
            if cost_of(new) <= MOST // 2 and (call == "put" or not isinstance(before, bytes)):
                model.pop(key, None)
                model[key] = new, owner
                while sum(map(size_of, model.values())) > MOST:
                    model.popitem(last=False)
        else:
            mine = isinstance(before, bytes) or (call == "find" and its_owner == owner)
            expected = before if mine else None
            assert (cache.get(key) if call == "get" else cache.find(key, owner)) is expected
            if expected is None:
                misses += 1
            else:
                hits += 1
                model.move_to_end(key)
        assert cache.stats.size == sum(map(size_of, model.values())) <= MOST
    assert (cache.stats.hits, cache.stats.misses) == (hits, misses)
    cache.clear()
    assert cache.stats.size == 0
