"""Rules: the first that fits counts, only for writing, and whatever was written opens."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Rule,
    StoreUnavailable,
    Zstd,
)
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.pipeline.upload import Upload
from tests.chains import KEY, SCOPE, keys_in

NOISE = bytes((i * i * 31 + i // 7 * 13) % 251 for i in range(4000))
"""Compresses to more than 3,000 bytes."""
TEXT = b"the same words again and again, " * 100
"""3,200 bytes that compress to less than 100."""


class Down(MemoryStore):
    """Takes nothing."""

    async def create(self, key: str, data: bytes) -> bool:
        raise StoreUnavailable("the store is down")


def chain(
    *rules: Rule,
    store: MemoryStore | None = None,
    others: dict[str, MemoryStore] | None = None,
    over: int = 256,
    deadline: float = 8,
) -> Chain:
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(store or MemoryStore(), over=over, read_also=others, deadline=deadline),
        rules=rules,
        cache=PayloadCache(0),
    )


def fits_by_trying(pattern: str, name: str) -> bool:
    """The slow way, from the definition."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(fits_by_trying(pattern[1:], name[i:]) for i in range(len(name) + 1))
    return bool(name) and pattern[0] == name[0] and fits_by_trying(pattern[1:], name[1:])


LETTERS = "ab*?[].\n:"


@settings(max_examples=500)
@given(pattern=st.text(LETTERS, min_size=1, max_size=8), name=st.text(LETTERS, max_size=10))
def test_a_pattern_fits_as_the_definition_says(pattern: str, name: str) -> None:
    found = chain(Rule(pattern)).rule_for(name)
    assert (found is not None) == fits_by_trying(pattern, name)


@given(st.text(min_size=1).filter(lambda name: "*" not in name))
def test_a_name_fits_itself_and_with_anything_around_it_only_stars(name: str) -> None:
    assert chain(Rule(name)).rule_for(name)
    assert not chain(Rule(name)).rule_for(f"{name}x")
    assert chain(Rule(f"*{name}*")).rule_for(f"x{name}x")


@given(st.lists(st.text("a*", min_size=1, max_size=3), max_size=5), st.text("ab", max_size=3))
def test_the_first_that_fits_counts(patterns: list[str], name: str) -> None:
    rules = [Rule(pattern, over=place) for place, pattern in enumerate(patterns)]
    expected = next((rule for rule in rules if fits_by_trying(rule.name, name)), None)
    assert chain(*rules).rule_for(name) is expected


def test_a_name_made_for_it_does_not_hold_the_process_up() -> None:
    assert not chain(Rule("a*" * 50 + "b")).rule_for("a" * 100_000)


async def test_a_rule_has_a_threshold_of_its_own() -> None:
    store = MemoryStore()
    writer = chain(Rule("activity:summarise*", over=5_000), store=store)
    assert not is_reference(await writer.encode(NOISE, SCOPE, name="activity:summarise-all"))
    assert await keys_in(store) == []
    assert is_reference(await writer.encode(NOISE, SCOPE, name="activity:other"))
    assert is_reference(await writer.encode(NOISE, SCOPE))


async def test_zero_offloads_what_compresses_to_nearly_nothing() -> None:
    writer = chain(Rule("all", over=0))
    assert is_reference(await writer.encode(TEXT, SCOPE, name="all"))
    assert not is_reference(await writer.encode(TEXT, SCOPE, name="other"))


async def test_what_stays_inline_needs_no_store() -> None:
    writer = chain(Rule("signal:*", inline=True), store=Down(), deadline=0.1)
    envelope = await writer.encode(NOISE, SCOPE, name="signal:go")
    assert is_ours(envelope)
    assert NOISE[:100] not in envelope
    assert await writer.decode(envelope, SCOPE) == NOISE
    assert writer.begin_upload(NOISE, SCOPE, name="signal:go") == envelope
    with pytest.raises(StoreUnavailable):
        await writer.encode(NOISE, SCOPE, name="activity:go")


async def test_a_rule_names_another_store() -> None:
    store, images = MemoryStore(), MemoryStore()
    writer = chain(Rule("activity:render", store="images"), store=store, others={"images": images})
    reference = await writer.encode(NOISE, SCOPE, name="activity:render")
    assert Reference.from_bytes(reference).store == "images"
    assert (await keys_in(store), len(await keys_in(images))) == ([], 1)
    upload = writer.begin_upload(NOISE[::-1], SCOPE, name="activity:render")
    assert isinstance(upload, Upload)
    await upload.store()
    put = await writer.put(TEXT, SCOPE, name="activity:render")
    assert (put.store, await keys_in(store), len(await keys_in(images))) == ("images", [], 3)
    reader = chain(store=store, others={"images": images})
    assert await reader.open(reference, SCOPE) == NOISE
    assert await reader.open(upload.reference, SCOPE) == NOISE[::-1]
    assert await reader.open_reference(put, SCOPE) == TEXT


async def test_what_has_to_be_an_object_is_one_whatever_a_rule_keeps_inline() -> None:
    writer = chain(Rule("*", inline=True))
    assert (await writer.put(TEXT, SCOPE, name="any")).size == len(TEXT)
    assert isinstance(writer.begin_upload(TEXT, SCOPE, always=True, name="any"), Upload)


async def test_a_rule_that_says_nothing_is_an_exception() -> None:
    writer = chain(Rule("activity:charge"), Rule("activity:*", inline=True))
    assert is_reference(await writer.encode(NOISE, SCOPE, name="activity:charge"))
    assert not is_reference(await writer.encode(NOISE, SCOPE, name="activity:other"))


RULES = st.builds(
    lambda name, kind, over: Rule(
        name,
        over=over if kind == "over" else None,
        inline=kind == "inline",
        store="other" if kind == "store" else None,
    ),
    st.sampled_from(["*", "a", "b", "a*", "*b"]),
    st.sampled_from(["over", "inline", "store", "nothing"]),
    st.integers(0, 5_000),
)


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(RULES, max_size=3),
    after=st.lists(RULES, max_size=3),
    turns=st.lists(st.tuples(st.sampled_from(["", "a", "ab", "b"]), st.integers(0, 40)), max_size=8),
)
async def test_what_one_set_of_rules_wrote_opens_under_any_other(
    before: list[Rule], after: list[Rule], turns: Sequence[tuple[str, int]]
) -> None:
    """Payloads grow as an agent's turns do, so some are deltas against others."""
    store, others = MemoryStore(), {"other": MemoryStore()}
    writer = chain(*before, store=store, others=others)
    reader = chain(*after, store=store, others=others)
    payloads = [NOISE[: 100 * (size + 1)] for _, size in turns]
    journal = [
        await writer.encode(data, SCOPE, name=name) for data, (name, _) in zip(payloads, turns, strict=True)
    ]
    again = [
        await reader.encode(data, SCOPE, name=name) for data, (name, _) in zip(payloads, turns, strict=True)
    ]
    for entries in (journal, again):
        for opener in (writer, reader):
            assert [await opener.decode(entry, SCOPE) for entry in entries] == payloads


@pytest.mark.parametrize("is_replay", [False, True])
async def test_an_object_of_another_name_changed_what_a_payload_became(*, is_replay: bool) -> None:
    """The payload and its name alone decide the journaled bytes, not earlier payloads of this process."""
    store = MemoryStore()
    rules = Rule("small", over=0), Rule("large", over=5_000)
    first = chain(*rules, store=store)
    for data in (TEXT, NOISE):
        assert is_reference(await first.encode(data, SCOPE, name="small"))
    other = chain(*rules, store=store)
    if is_replay:
        await other.replaying(SCOPE)
    for writer in (first, other):
        for data in (TEXT, NOISE):
            assert not is_reference(await writer.encode(data, SCOPE, name="large"))
            assert isinstance(writer.begin_upload(data, SCOPE, name="large"), bytes)
        assert not is_reference(await writer.encode(TEXT, SCOPE))
        assert isinstance(writer.begin_upload(TEXT, SCOPE), bytes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rule(""), "no name"),
        (lambda: Rule("a", over=-1), "-1 bytes"),
        (lambda: Rule("a", inline=True, over=1), "inline"),
        (lambda: Rule("a", inline=True, store="images"), "inline"),
        (lambda: Chain(Zstd(), rules=[Rule("a", over=1)]), "has no store"),
        (lambda: chain(Rule("a", store="imgaes"), others={"images": MemoryStore()}), "default, images"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=said):
        make()


async def test_a_chain_that_only_reads_writes_by_no_rule() -> None:
    reader = Chain(Offload(Down()), rules=[Rule("*", over=0)], decode_only=True)
    assert await reader.encode(NOISE, SCOPE, name="any") == NOISE


def test_a_chain_shows_its_rules() -> None:
    rule = Rule("activity:*", over=1, store="default")
    assert repr(chain(rule)).endswith("rules=(Rule('activity:*', over=1, store='default'),))")
    assert repr(Rule("a", inline=True)) == "Rule('a', inline=True)"
