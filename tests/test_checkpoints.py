"""Checkpoints: what restore gives equals what was saved, whatever happened in between; or a typed error."""

import asyncio
import json
import random
import tracemalloc
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, PrivateAttr

from coatcheck import (
    Chain,
    Checkpoint,
    Checkpoints,
    CoatcheckError,
    ConfigError,
    Encrypt,
    FormatError,
    IntegrityError,
    Keyring,
    LimitExceeded,
    MemoryStore,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Reference,
    Scope,
    Sealing,
    StoredObject,
    StoreUnavailable,
    Zstd,
    idempotency_key,
)
from coatcheck.contracts import DEFAULT_LIMIT
from coatcheck.states import pack, unpack
from tests.chains import KEY, OTHER_KEY, keys_in

RUN = "run-1"


class Plan(BaseModel):
    goal: str
    due: date | None = None
    weights: list[float] = []
    tags: set[str] = set()
    raw: bytes = b""


@dataclass
class Message:
    role: str
    content: str
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class State:
    step: int = 0
    plan: Plan | None = None
    messages: list[Message] = field(default_factory=list)
    pair: tuple[int, str] = (0, "")
    by_number: dict[int, str] = field(default_factory=dict)


def chain_on(store: MemoryStore, cache: int = 2**26, **options: Any) -> Chain:
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=2048), cache=PayloadCache(cache), **options
    )


def of(store: MemoryStore, run: str = RUN, **options: Any) -> Checkpoints:
    return Checkpoints(chain_on(store, **options), run=run)


def growing(count: int, seed: int = 0) -> list[dict[str, JsonValue]]:
    """States of an agent: each carries the earlier ones again."""
    messages: list[JsonValue] = []
    states: list[dict[str, JsonValue]] = []
    for step in range(count):
        messages.append({"role": "tool", "content": random.Random(f"{seed}:{step}").randbytes(3000).hex()})
        states.append({"step": step, "messages": list(messages)})
    return states


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
STATES = (
    JSON
    | st.binary(max_size=400)
    | st.builds(bytes.__add__, st.sampled_from([bytes([n]) for n in range(256)]), st.binary(max_size=3))
)


@given(STATES)
def test_bytes_and_json_values_come_back_as_they_were(state: object) -> None:
    again = unpack(pack(state))
    assert again == state
    assert type(again) is type(state)
    assert repr(again) == repr(state)


def test_nan_and_the_infinities_come_back() -> None:
    assert repr(unpack(pack([float("nan"), float("inf"), float("-inf"), -0.0]))) == "[nan, inf, -inf, -0.0]"


def test_bytes_that_cannot_be_taken_for_json_are_not_copied() -> None:
    state = b"\x80\x05" + bytes(100)
    assert pack(state) is state
    assert unpack(state) is state
    for alike in (bytearray(b"{}"), memoryview(b"{}"), b"{}"):
        assert unpack(pack(alike)) == b"{}"


STATE = State(
    3,
    Plan(goal="ship", due=date(2026, 5, 1), weights=[0.1, 1e300], tags={"a", "b"}, raw="é".encode()),
    [Message("user", "hello"), Message("tool", "\x00\u2028", datetime(1999, 1, 1, tzinfo=UTC))],
    (7, "x"),
    {1: "one"},
)


async def test_dataclasses_and_models_come_back_equal() -> None:
    store = MemoryStore()
    for step, state in enumerate([STATE, STATE.plan, Message("a", "b"), Plan(goal="")]):
        reference = await of(store).save(state, step)
        restored = await of(store).restore(str(reference), into=type(state))
        assert restored == state
        assert type(restored) is type(state)
    assert (await of(store).restore(None, Plan)).goal == ""
    plan = await of(store).restore((await of(store).at(1)).reference)
    assert plan["goal"] == "ship"


class Aliased(BaseModel):
    value: int = Field(default=0, serialization_alias="theValue")


class BothWays(BaseModel):
    value: int = Field(default=0, alias="theValue")


class Secretive(BaseModel):
    kept: int = 0
    left_out: int = Field(default=0, exclude=True)
    _private: int = PrivateAttr(default=0)


class Base(BaseModel):
    a: int


class Derived(Base):
    b: int


class Holder(BaseModel):
    base: Base
    anything: Any = None


@dataclass
class Derives:
    x: int
    y: int = field(init=False, default=1)


def deep(levels: int) -> JsonValue:
    state: JsonValue = 1
    for _ in range(levels):
        state = [state]
    return state


def circle() -> list[Any]:
    state: list[Any] = []
    state.append(state)
    return state


def derives() -> Derives:
    state = Derives(1)
    state.y = 2
    return state


@pytest.mark.parametrize(
    "state",
    [
        (1, 2),
        {"CANARY": (1, 2)},
        {1: "CANARY"},
        {("CANARY",): 1},
        {"CANARY"},
        {"a": b"CANARY"},
        [datetime(2026, 1, 1, tzinfo=UTC)],
        [Plan(goal="CANARY")],
        object(),
        {"a": object()},
        "CANARY\ud800",
        circle(),
        deep(201),
        {"a": [deep(199)]},
        [[OrderedDict(a=1)]],
        10**5000,
        Aliased(value=1),
        Secretive(left_out=1),
        Holder(base=Derived(a=1, b=2)),
        Holder(base=Base(a=1), anything=(1,)),
        Plan(goal="CANARY", raw=b"\xff"),
        Plan(goal="", weights=[float("nan")]),
        Message("CANARY", 7),  # type: ignore[arg-type]
        derives(),
        Plan.model_construct(goal=["CANARY"]),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        State,
    ],
    ids=lambda state: type(state).__name__,
)
async def test_what_would_not_come_back_equal_is_refused_before_anything_is_stored(state: object) -> None:
    store = MemoryStore()
    with pytest.raises(FormatError) as caught:
        await of(store).save(state, 1)
    assert "CANARY" not in f"{caught.value}{caught.value!r}"
    assert await keys_in(store) == []


@pytest.mark.parametrize(
    "state", [deep(200), {"a": deep(199)}, Aliased(), Secretive(kept=1), BothWays(theValue=3), Derives(5)]
)
def test_what_does_come_back_is_taken(state: object) -> None:
    assert unpack(pack(state), None if isinstance(state, list | dict) else type(state)) == state


@pytest.mark.parametrize(
    ("state", "into"),
    [({"goal": ["CANARY"]}, Plan), ([1], State), (b"CANARY", Plan), (b"{", Plan), ("x", int)],
)
async def test_a_state_that_does_not_fit_is_an_error_that_names_the_object(state: object, into: type) -> None:
    checkpoints = of(MemoryStore())
    reference = await checkpoints.save(state, 1)
    with pytest.raises(FormatError, match=reference.object_id.hex()) as caught:
        await checkpoints.restore(reference, into)
    assert "CANARY" not in f"{caught.value}{caught.value!r}{caught.value.__cause__}"


async def test_an_object_that_is_no_state_is_an_error() -> None:
    store = MemoryStore()
    reference = await chain_on(store).put(b"{never json", Scope("default", RUN, engine="checkpoints"))
    with pytest.raises(FormatError, match=r"not JSON"):
        await of(store).restore(reference)


async def test_history_tells_all_without_fetching_a_state() -> None:
    store = MemoryStore()
    began = datetime.now(UTC)
    states: dict[int, object] = {2**63 - 1: b"{}", 0: {"a": 1}, 10: b"\x80", 9: STATE}
    references = {step: await of(store).save(state, step) for step, state in states.items()}
    found = await of(store).history()
    assert [(item.step, item.kind, item.size) for item in found] == [
        (0, "json", 7),
        (9, "json", len(pack(STATE))),
        (10, "bytes", 1),
        (2**63 - 1, "bytes", 2),
    ]
    assert {item.step: item.reference for item in found} == references
    assert all(began <= item.saved_at <= datetime.now(UTC) for item in found)
    assert all(item.saved_at.utcoffset() == timedelta(0) for item in found)
    assert await of(store).latest() == found[-1] == await of(store).at()
    assert await of(store).at(9) == found[1]
    assert Checkpoint.model_validate_json(found[0].model_dump_json()) == found[0]
    assert json.loads(found[0].model_dump_json())["reference"] == str(references[0])
    assert await of(store).restore() == b"{}"
    with pytest.raises(PayloadNotFound, match="step 1 has"):
        await of(store).at(1)


async def test_a_run_without_checkpoints() -> None:
    checkpoints = of(MemoryStore())
    assert await checkpoints.latest() is None
    assert await checkpoints.history() == []
    with pytest.raises(PayloadNotFound, match="no checkpoint"):
        await checkpoints.restore()


async def test_saving_a_step_again_replaces_it_and_keeps_every_reference_good() -> None:
    store = MemoryStore()
    first = await of(store).save({"try": 1}, 4)
    second = await of(store).save({"try": 2}, 4)
    (found,) = await of(store).history()
    assert found.reference == second
    assert await of(store).restore(first) == {"try": 1}
    assert await of(store).restore() == {"try": 2}
    assert len(await keys_in(store)) == 3


@pytest.mark.parametrize("step", [-1, 2**63])
async def test_a_step_out_of_range(step: int) -> None:
    with pytest.raises(ConfigError, match=str(step)):
        await of(MemoryStore()).save(b"", step)
    with pytest.raises(ConfigError):
        await of(MemoryStore()).at(step)


async def test_a_chain_that_cannot_keep_states_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no store.*Offload"):
        Checkpoints(Chain(Zstd()), run=RUN)
    with pytest.raises(ConfigError, match="decode_only"):
        await of(MemoryStore(), decode_only=True).save(b"", 1)
    with pytest.raises(ConfigError, match="run"):
        of(MemoryStore(), run="")
    with pytest.raises(LimitExceeded):
        await of(MemoryStore(), max_payload=10).save(bytes(11), 1)


async def test_states_of_a_run_are_one_lineage_also_across_processes() -> None:
    store = MemoryStore()
    states = growing(24)
    checkpoints = of(store)
    references = [await checkpoints.save(state, step) for step, state in enumerate(states[:12])]
    recovered = of(store)
    assert await recovered.restore() == states[11]
    references += [await recovered.save(state, step) for step, state in enumerate(states[12:], 12)]
    assert sum(bool(reference.bases) for reference in references) >= 16
    stored = sum([entry.size async for entry in store.list_objects()])
    assert stored < sum(len(pack(state)) for state in states) / 5
    for state, reference in zip(states, references, strict=True):
        assert await of(store).restore(reference) == state


async def test_another_run_and_another_tenant_cannot_restore_it() -> None:
    store = MemoryStore()
    reference = await of(store).save(b"state", 1)
    with pytest.raises(IntegrityError):
        await of(store, run="other").restore(reference)
    with pytest.raises(IntegrityError):
        await Checkpoints(chain_on(store), run=RUN, tenant="other").restore(reference)
    with pytest.raises(FormatError):
        await of(store).restore(str(reference)[:-1])
    assert await of(store, run="other").history() == []


async def test_the_state_is_durable_before_its_record() -> None:
    class Failing(MemoryStore):
        broken = ""

        async def create(self, key: str, data: bytes) -> bool:
            if self.broken == "create":
                raise StoreUnavailable("down", retry_after=60)
            return await super().create(key, data)

        async def replace(self, key: str, data: bytes) -> None:
            if self.broken == "replace":
                raise StoreUnavailable("down", retry_after=60)
            await super().replace(key, data)

    store = Failing()
    await of(store).save(b"first", 1)
    for store.broken in ("create", "replace"):
        with pytest.raises(StoreUnavailable):
            await of(store).save(store.broken.encode(), 2)
        assert await of(store).restore() == b"first"


async def test_a_save_that_is_cancelled_anywhere_leaves_a_history_that_restores() -> None:
    class Slow(MemoryStore):
        async def create(self, key: str, data: bytes) -> bool:
            await asyncio.sleep(0)
            return await super().create(key, data)

        async def replace(self, key: str, data: bytes) -> None:
            await asyncio.sleep(0)
            await super().replace(key, data)

    for steps in range(12):
        store = Slow()
        await of(store).save(b"first", 1)
        task = asyncio.create_task(of(store).save(b"second", 2))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await of(store).history()
        states = [await of(store).restore(item.reference) for item in found]
        assert states == [b"first", b"second"][: len(states)]
        assert states


async def test_later_changes_to_the_state_do_not_matter() -> None:
    store = MemoryStore()
    state: dict[str, Any] = {"messages": ["x" * 100_000]}
    saving = asyncio.create_task(of(store).save(state, 1))
    await asyncio.sleep(0)
    state["messages"].append("late")
    await saving
    assert await of(store).restore() == {"messages": ["x" * 100_000]}


@pytest.mark.parametrize("what", ["missing", "damaged"])
async def test_a_missing_or_damaged_base_is_named(what: str) -> None:
    store = MemoryStore()
    checkpoints = of(store)
    references = [await checkpoints.save(state, step) for step, state in enumerate(growing(16))]
    reference = max(references, key=lambda reference: len(reference.bases))
    assert len(reference.bases) >= 2
    keys = {key.rsplit("/", 1)[1]: key for key in await keys_in(store)}
    for object_id in (reference.object_id, *reference.bases):
        key = keys[object_id.hex()]
        good = await store.get(key)
        await (store.delete(key) if what == "missing" else store.replace(key, good[:-1] + b"?"))
        with pytest.raises(PayloadNotFound if what == "missing" else IntegrityError, match=object_id.hex()):
            await of(store).restore(reference)
        await store.replace(key, good)
    assert await of(store).restore(reference) in growing(16)


async def test_a_damaged_record_is_named_and_never_passed_over() -> None:
    store = MemoryStore()
    for step in (1, 2):
        await of(store).save(b"state", step)
    (key,) = [key for key in await keys_in(store) if key.endswith("2")]
    await store.replace(key, (await store.get(key))[:-1])
    for attempt in (of(store).latest, of(store).history, of(store).restore):
        with pytest.raises(IntegrityError, match="step-00000000000000000002"):
            await attempt()


@pytest.mark.parametrize(
    "record", [b"", b"{}", b"[]", b'{"step":2}', b"\xff"], ids=["empty", "object", "list", "part", "no text"]
)
async def test_a_malformed_record_is_named(record: bytes) -> None:
    chain = chain_on(MemoryStore())
    await chain.ledger(Scope("default", RUN, engine="checkpoints")).put("step-00000000000000000002", record)
    with pytest.raises(FormatError, match="step-00000000000000000002"):
        await Checkpoints(chain, run=RUN).latest()


async def test_a_record_of_a_later_release_is_read_and_one_of_another_step_is_not() -> None:
    chain = chain_on(MemoryStore())
    checkpoints, ledger = (
        Checkpoints(chain, run=RUN),
        chain.ledger(Scope("default", RUN, engine="checkpoints")),
    )
    await checkpoints.save(b"state", 2)
    (entry,) = await ledger.entries()
    facts = json.loads(await ledger.get(entry))
    await ledger.put(entry.name, json.dumps({**facts, "label": "new"}).encode())
    assert await checkpoints.restore() == b"state"
    for wrong in ({"step": 3}, {"reference": "AAAA"}, {"kind": "xml"}, {"saved_at": "2026-01-01T00:00:00"}):
        await ledger.put(entry.name, json.dumps(facts | wrong).encode())
        with pytest.raises(FormatError, match=entry.name):
            await checkpoints.latest()


class Requests(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.made.append("GET record" if "step-" in key else "GET object")
        return await super().get(key, limit)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        self.made.append(f"LIST {prefix.rsplit('/', 1)[1]}")
        async for entry in super().list_objects(prefix):
            yield entry

    async def create(self, key: str, data: bytes) -> bool:
        self.made.append("PUT object")
        return await super().create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        self.made.append("PUT record")
        await super().replace(key, data)


async def test_requests() -> None:
    store = Requests()
    checkpoints = of(store)
    for step, state in enumerate(growing(16)):
        store.made.clear()
        await checkpoints.save(state, step)
        # Before its first record a process makes sure that no sweep is about to remove records by name.
        look = [] if step else ["LIST "]
        assert store.made == ["PUT object", *look, "PUT record"]
    store.made.clear()
    assert len(await of(store).history()) == 16
    assert sorted(store.made) == ["GET record"] * 16 + ["LIST step-"]
    store.made.clear()
    await of(store).latest()
    assert store.made == ["LIST step-", "GET record"]
    store.made.clear()
    await of(store).restore()
    assert store.made[:2] == ["LIST step-", "GET record"]
    assert store.made.count("GET record") == 1
    assert store.made.count("GET object") <= 5


async def test_a_state_of_60_mb_comes_back_without_needless_copies() -> None:
    store = MemoryStore()
    state = b"\x80" + random.Random(0).randbytes(60_000_000)
    checkpoints = of(store, cache=0)
    tracemalloc.start()
    try:
        reference = await checkpoints.save(state, 1)
        saved = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        restored = await of(store, cache=0).restore(reference)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert restored == state
    # Beside the state, which is not counted: sealing has the ciphertext and the envelope, which is what the store keeps.
    assert saved < 2.2 * len(state)
    # The store's object, the plaintext, and what the codec makes of it.
    assert peak < 3.2 * len(state)


async def test_a_large_json_state_comes_back() -> None:
    store = MemoryStore()
    chance = random.Random(0)
    state: dict[str, list[Any]] = {
        "embeddings": [[chance.random() for _ in range(1000)] for _ in range(300)],
        "pages": [chance.randbytes(50_000).hex() for _ in range(60)],
    }
    await of(store).save(state, 1)
    state["pages"].append("more")
    second = await of(store).save(state, 2)
    assert await of(store).restore(second) == state


async def test_racing_writers_of_one_step_leave_one_whole_record() -> None:
    store = MemoryStore()
    writers = [of(store) for _ in range(8)]
    references = await asyncio.gather(
        *(writer.save({"writer": number}, 1) for number, writer in enumerate(writers))
    )
    (found,) = await of(store).history()
    assert found.reference in references
    assert await of(store).restore() == {"writer": references.index(found.reference)}


def test_one_object_serves_several_event_loops() -> None:
    checkpoints = of(MemoryStore())

    def in_a_loop_of_its_own(step: int) -> object:
        async def there_and_back() -> object:
            return await checkpoints.restore(await checkpoints.save({"step": step}, step))

        return asyncio.run(there_and_back())

    async def together() -> list[object]:
        return await asyncio.gather(*(asyncio.to_thread(in_a_loop_of_its_own, step) for step in range(8)))

    assert asyncio.run(together()) == [{"step": step} for step in range(8)]


class Life:
    """One run and what happens to it; every state that was ever saved must come back, byte for byte."""

    def __init__(self, cache: int, *, keyed: bool) -> None:
        self.store = MemoryStore()
        self.cache = cache
        self.sealing = (Encrypt(Keyring(KEY)),) if keyed else ()
        self.saved: list[tuple[Reference, bytes]] = []
        self.latest: dict[int, list[bytes]] = {}
        self.chain = self.fresh()

    def fresh(self) -> Chain:
        return Chain(Zstd(), *self.sealing, Offload(self.store, over=2048), cache=PayloadCache(self.cache))

    async def save(self, step: int, form: int) -> None:
        self.latest[step] = [await self._save(self.chain, step, form)]

    async def race(self, step: int, form: int) -> None:
        chains = [self.chain, self.fresh(), self.fresh()]
        self.latest[step] = await asyncio.gather(
            *(self._save(chain, step, form + at) for at, chain in enumerate(chains))
        )

    async def restore(self, which: int, _: int) -> None:
        if self.saved:
            reference, state = self.saved[which % len(self.saved)]
            assert pack(await Checkpoints(self.chain, run=RUN).restore(str(reference))) == state

    async def restart(self, *_: int) -> None:
        await self.chain.close()
        self.chain = self.fresh()

    async def evict(self, *_: int) -> None:
        self.chain.cache.clear()

    async def delete_another_scope(self, *_: int) -> None:
        other = Checkpoints(self.chain, run="other")
        await other.save(FORMS[0], 0)
        tag = (await other.at()).reference.run_tag.hex()
        for key in await keys_in(self.store):
            if tag in key:
                await self.store.delete(key)

    async def end(self) -> None:
        checkpoints = Checkpoints(self.fresh(), run=RUN)
        history = await checkpoints.history()
        assert [item.step for item in history] == sorted(self.latest)
        for item in history:
            assert pack(await checkpoints.restore(item.reference)) in self.latest[item.step]
        for reference, state in self.saved:
            assert pack(await Checkpoints(self.fresh(), run=RUN).restore(reference)) == state

    async def _save(self, chain: Chain, step: int, form: int) -> bytes:
        # Half of them as bytes: both kinds are one lineage.
        state = FORMS[form] if form % 2 else pack(FORMS[form])
        self.saved.append((await Checkpoints(chain, run=RUN).save(state, step), pack(state)))
        return pack(state)


FORMS = growing(12) + [{"other": state} for state in growing(12, seed=1)]
EVENTS = st.tuples(
    st.sampled_from(
        [Life.save, Life.save, Life.race, Life.restore, Life.restart, Life.evict, Life.delete_another_scope]
    ),
    st.integers(0, 5),
    st.integers(0, len(FORMS) - 3),
)


@given(
    events=st.lists(EVENTS, max_size=25),
    cache=st.sampled_from([0, 30_000, 150_000, 2**26]),
    keyed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_events_restores_byte_for_byte(
    events: list[tuple[Callable[..., Awaitable[None]], int, int]], cache: int, *, keyed: bool
) -> None:
    async def live() -> None:
        life = Life(cache, keyed=keyed)
        for event, number, form in events:
            await event(life, number, form)
        await life.end()

    asyncio.run(live())


def test_the_idempotency_key_is_stable_and_tells_everything_apart() -> None:
    assert idempotency_key("order-7", 3) == "a563d6f03cf5bfab08084f2a71f2ebf4"
    assert idempotency_key("order-7", 3, "refund") == "08e11166619e9d1bb2b3cc74df94b44d"
    keys = {
        idempotency_key(run, step, tool)
        for run in ("a", "a1", "1", "", "é")
        for step in (1, 11, 111, 0, -1)
        for tool in ("", "1", "a")
    }
    assert len(keys) == 75
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


async def test_no_state_shows_in_the_store() -> None:
    store = MemoryStore()
    await of(store, run="CANARY-run").save({"CANARY": "CANARY" * 1000}, 1)
    for key in await keys_in(store):
        assert b"CANARY" not in key.encode() + await store.get(key)
    assert issubclass(FormatError, CoatcheckError)


def under(store: MemoryStore, *sealing: Sealing) -> Checkpoints:
    return Checkpoints(Chain(Zstd(), *sealing, Offload(store), cache=PayloadCache(0)), run=RUN)


async def test_a_rotated_key_hid_every_earlier_checkpoint() -> None:
    store = MemoryStore()
    before = under(store, Encrypt(Keyring(KEY)))
    for step in range(3):
        await before.save({"step": step, "by": "old"}, step=step)
    after = under(store, Encrypt(Keyring(OTHER_KEY, KEY)))
    latest = await after.latest()
    assert latest is not None
    assert await after.restore(latest.reference) == {"step": 2, "by": "old"}
    await after.save({"step": 3, "by": "new"}, step=3)
    assert [checkpoint.step for checkpoint in await after.history()] == [0, 1, 2, 3]
    assert await after.restore((await after.at(1)).reference) == {"step": 1, "by": "old"}
    assert await after.restore() == {"step": 3, "by": "new"}


async def test_a_step_saved_again_under_another_key_counts_as_it_was_saved_last() -> None:
    store = MemoryStore()
    old, new = under(store, Encrypt(Keyring(KEY, OTHER_KEY))), under(store, Encrypt(Keyring(OTHER_KEY, KEY)))
    for checkpoints, value in ((old, "first"), (new, "second"), (old, "third")):
        await checkpoints.save(value, step=0)
        for reading in (old, new):
            assert await reading.restore() == value
            assert len(await reading.history()) == 1


async def test_introducing_encryption_hid_every_earlier_checkpoint() -> None:
    store = MemoryStore()
    await under(store).save("plain", step=0)
    assert await under(store, Encrypt(Keyring(KEY), accept_unsealed=True)).restore() == "plain"
    assert await under(store, Encrypt(Keyring(KEY))).latest() is None


async def test_a_key_that_is_not_in_the_keyring_finds_nothing() -> None:
    store = MemoryStore()
    await under(store, Encrypt(Keyring(KEY))).save("secret", step=0)
    with pytest.raises(PayloadNotFound, match="keyring"):
        await under(store, Encrypt(Keyring(OTHER_KEY))).restore()
