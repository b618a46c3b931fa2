"""Checkpoints: what restore gives equals what was saved, whatever happened in between; or a typed error."""

import asyncio
import json
import random
import sys
import tracemalloc
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, PrivateAttr

from coatcheck import (
    Chain,
    Checkpoint,
    CheckpointConflict,
    Checkpoints,
    CoatcheckError,
    ConfigError,
    DamagedCheckpoint,
    Encrypt,
    FileStore,
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
    StoreDenied,
    StoredObject,
    StoreUnavailable,
    Zstd,
    idempotency_key,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.states import pack, unpack
from coatcheck.storage.records import Position
from tests.chains import KEY, OTHER_KEY, history, keys_in

RUN = "run-1"
SCOPE = Scope("default", RUN, engine="checkpoints")


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
    assert (await of(store).restore(into=Plan)).goal == ""
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
        [Plan(goal="CANARY"), Message("CANARY", "")],
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
        await checkpoints.restore(reference, into=into)
    assert "CANARY" not in f"{caught.value}{caught.value!r}{caught.value.__cause__}"


async def test_an_object_that_is_no_state_is_an_error() -> None:
    store = MemoryStore()
    reference = await chain_on(store).put(b"{never json", Scope("default", RUN, engine="checkpoints"))
    with pytest.raises(FormatError, match=r"not JSON"):
        await of(store).restore(reference)


async def test_history_tells_all_without_fetching_a_state() -> None:
    store = MemoryStore()
    began = datetime.now(UTC)
    states: dict[int, object] = {0: {"a": 1}, 9: STATE, 10: b"\x80", 2**63 - 1: b"{}"}
    references = {step: await of(store).save(state, step) for step, state in states.items()}
    found = await history(of(store))
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
    assert await history(checkpoints) == []
    with pytest.raises(PayloadNotFound, match="no checkpoint"):
        await checkpoints.restore()


async def test_saving_a_step_again_hides_it_and_keeps_every_reference_good() -> None:
    store = MemoryStore()
    writer = of(store)
    first = await writer.save({"try": 1}, 4)
    second = await writer.save({"try": 2}, 4)
    assert [(item.branch, item.reference) for item in await history(of(store))] == [(0, first), (1, second)]
    assert await of(store).restore(first) == {"try": 1}
    assert await of(store).restore() == await of(store).restore(step=4) == {"try": 2}


@pytest.mark.parametrize("step", [-1, 2**63, 7.0, "7", True, None, [7]])
async def test_a_step_that_is_none_is_said_so(step: Any) -> None:
    with pytest.raises(ConfigError, match="not a step number"):
        await of(MemoryStore()).save(b"", step)
    if step is not None:
        for call in (of(MemoryStore()).at(step), of(MemoryStore()).restore(step=step)):
            with pytest.raises(ConfigError, match="not a step number"):
                await call
    with pytest.raises(ConfigError, match="branch"):
        await of(MemoryStore()).at(1, branch=step if step is not None else -1)


async def test_a_chain_that_cannot_keep_states_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no store.*Offload"):
        Checkpoints(Chain(Zstd()), run=RUN)
    with pytest.raises(ConfigError, match="decode_only"):
        await of(MemoryStore(), decode_only=True).save(b"", 1)
    with pytest.raises(ConfigError, match="run"):
        of(MemoryStore(), run="")
    with pytest.raises(LimitExceeded):
        await of(MemoryStore(), max_payload=10).save(bytes(11), 1)


async def test_states_of_a_run_are_one_delta_chain_also_across_processes() -> None:
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
    assert await history(of(store, run="other")) == []


async def test_the_state_is_durable_before_its_record() -> None:
    class Failing(MemoryStore):
        broken = ""

        async def create(self, key: str, data: bytes) -> bool:
            if self.broken == ("record" if "step-" in key else "object"):
                raise StoreUnavailable("down", retry_after=60)
            return await super().create(key, data)

    store = Failing()
    await of(store).save(b"first", 1)
    for store.broken in ("object", "record"):
        with pytest.raises(StoreUnavailable):
            await of(store).save(store.broken.encode(), 2)
        assert await of(store).restore() == b"first"


async def test_a_save_that_is_cancelled_anywhere_leaves_a_history_that_restores() -> None:
    class Slow(MemoryStore):
        async def create(self, key: str, data: bytes) -> bool:
            await asyncio.sleep(0)
            return await super().create(key, data)

    for steps in range(12):
        store = Slow()
        await of(store).save(b"first", 1)
        task = asyncio.create_task(of(store).save(b"second", 2))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await history(of(store))
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


def record_keys(store: MemoryStore) -> list[str]:
    """The newest first."""
    return sorted(key for key in store._objects if "/step-" in key)


async def test_a_damaged_record_was_the_end_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    for step in (1, 2, 3):
        await of(store).save(f"state {step}", step)
    key = record_keys(store)[0]
    await store.replace(key, (await store.get(key))[:-1])
    for _ in range(3):
        assert await of(store).restore() == "state 2"
        assert [item.step for item in await history(of(store))] == [1, 2]
    assert [record.message.count(key) for record in caplog.records] == [1]
    damaged = await anext(of(store).listing())
    assert isinstance(damaged, DamagedCheckpoint)
    assert (damaged.branch, damaged.step, damaged.record) == (0, 3, key)
    assert isinstance(damaged.error, IntegrityError)
    with pytest.raises(IntegrityError, match=key):
        await of(store).at(3)
    # Who goes on from what could be read hides what could not.
    writer = of(store)
    await writer.restore()
    await writer.save("again", 3)
    assert await of(store).restore() == await of(store).restore(step=3) == "again"
    fresh = of(store)
    await fresh.save("more", 4)
    assert [(item.branch, item.step) for item in await history(fresh)] == [(0, 1), (0, 2), (1, 3), (1, 4)]


async def test_a_record_that_came_damaged_once_is_fetched_once_more() -> None:
    class Noisy(MemoryStore):
        noise = 0

        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            data = await super().get(key, limit)
            if "/step-" in key and self.noise:
                self.noise -= 1
                return data[:-1]
            return data

    store = Noisy()
    await of(store).save("state", 1)
    store.noise = 1
    assert await of(store).restore() == "state"
    assert store.noise == 0


async def test_a_run_of_damaged_records_is_not_said_to_be_empty() -> None:
    store = MemoryStore()
    for step in range(3):
        await of(store).save(step, step)
    for key in record_keys(store):
        await store.replace(key, b"?")
    for call in (of(store).latest(), of(store).restore(), of(store).at()):
        with pytest.raises(IntegrityError, match=r"none of the newest 3 records.*step-"):
            await call
    await of(store).save("on", 3)
    assert await of(store).restore() == "on"


async def test_many_damaged_records_in_a_row_are_an_error_that_says_so() -> None:
    store = MemoryStore()
    writer = of(store)
    for step in range(40):
        await writer.save(step, step)
    for key in record_keys(store)[:33]:
        await store.replace(key, b"?")
    with pytest.raises(IntegrityError, match=r"none of the newest 32 records.*step-"):
        await of(store).latest()
    assert len(await history(of(store))) == 7
    for key in record_keys(store)[:2]:
        await store.delete(key)
    assert await of(store).restore() == 6


PLANTED = [
    "step-" + "9" * 20,
    "step-" + "0" * 26,
    "step-" + "0" * 26 + "-" + "0" * 16,
    "step-" + "9" * 26 + "-" + "f" * 16,
    "step-",
    "step-000000",
    "step-zzz",
    "step-0000-",
]


async def test_names_that_anybody_can_plant_were_the_end_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    writer = of(store)
    for step in range(3):
        await writer.save(step, step)
    prefix, name = record_keys(store)[0].rsplit("/", 1)
    # Digits of a real one with a code that is not.
    for planted in [*PLANTED, name[:-1] + ("0" if name[-1] != "0" else "1"), name + "0", name[:-1]]:
        await store.replace(f"{prefix}/{planted}", await store.get(f"{prefix}/{name}"))
    assert await of(store).restore() == 2
    assert [item.step for item in await history(of(store))] == [0, 1, 2]
    await of(store).save(3, 3)
    await writer.restore()
    await writer.save(4, 4)
    assert [(item.branch, item.step) for item in await history(of(store))] == [(0, step) for step in range(5)]
    said = [record.message for record in caplog.records]
    # Those that come first, each once.
    assert len(said) == len(set(said)) == 8


@pytest.mark.parametrize("where", ["before", "between", "same digits"])
async def test_thousands_of_planted_names_are_paged_over(where: str) -> None:
    store = MemoryStore()
    writer = of(store)
    for step in range(30):
        await writer.save(step, step)
    first, second = record_keys(store)[:2]
    digits = {"before": first[:-43] + "0" * 26, "between": second[:-17], "same digits": first[:-17]}[where]
    for number in range(3000):
        await store.replace(f"{digits}-{number:016}", b"")
    assert await of(store).restore() == 29
    assert [item.step for item in await history(of(store))] == list(range(30))


async def test_more_planted_names_than_can_be_an_accident_are_an_error_that_says_so() -> None:
    store = MemoryStore()
    await of(store).save("state", 0)
    start = record_keys(store)[0][:-43]
    for number in range(10_100):
        await store.replace(f"{start}{number:026}-{number:016}", b"")
    for call in (of(store).restore(), of(store).save("more", 1), history(of(store))):
        with pytest.raises(LimitExceeded, match=r"10000 names.*not authentic"):
            await call


@pytest.mark.parametrize(
    "record", [b"", b"{}", b"[]", b'{"step":2}', b"\xff"], ids=["empty", "object", "list", "part", "no text"]
)
async def test_a_malformed_record_is_named(record: bytes) -> None:
    chain = chain_on(MemoryStore())
    await chain.ledger(SCOPE).create(Position(0, 2), record)
    with pytest.raises(FormatError, match="step-999999"):
        await Checkpoints(chain, run=RUN).at(2)


async def test_a_record_of_a_later_release_is_read_and_one_of_another_step_is_not() -> None:
    chain = chain_on(MemoryStore())
    checkpoints, ledger = Checkpoints(chain, run=RUN), chain.ledger(SCOPE)
    await checkpoints.save(b"state", 2)
    (entry,) = await ledger.newest(9)
    facts = json.loads(await ledger.get(entry))
    assert await ledger.create(Position(0, 3), json.dumps({**facts, "step": 3, "label": "new"}).encode())
    assert await Checkpoints(chain, run=RUN).restore() == b"state"
    wrong: list[dict[str, object]] = [
        {"step": 3},
        {"branch": 1},
        {"reference": "AAAA"},
        {"kind": "xml"},
        {"saved_at": "2026-01-01T00:00:00"},
        {"forks": [[1]]},
    ]
    for step, change in enumerate(wrong, 4):
        await ledger.create(Position(0, step), json.dumps({**facts, "step": step} | change).encode())
        with pytest.raises(FormatError, match="step-"):
            await checkpoints.at(step)


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
        self.made.append("PUT record" if "step-" in key else "PUT object")
        return await super().create(key, data)


async def test_requests() -> None:
    store = Requests()
    checkpoints = of(store)
    for step, state in enumerate(growing(16)):
        store.made.clear()
        await checkpoints.save(state, step)
        # Before its first record a process makes sure that no sweep is about to remove records by name.
        first = ["LIST step-", "PUT object", "LIST -sweep-mark", "PUT record"]
        assert store.made == first if not step else sorted(store.made[:2]) == ["LIST step-", "PUT object"]
        assert store.made[2:] == first[2:] if not step else store.made[2:] == ["PUT record"]
    store.made.clear()
    assert len(await history(of(store))) == 16
    assert sorted(store.made) == ["GET record"] * 16 + ["LIST step-"]
    store.made.clear()
    await of(store).latest()
    assert store.made == ["LIST step-", "GET record"]
    store.made.clear()
    assert (await of(store).at(3)).step == 3
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


async def test_racing_writers_of_one_step_leave_one_whole_record_and_are_told() -> None:
    store = MemoryStore()
    writers = [of(store) for _ in range(8)]
    outcomes = await asyncio.gather(
        *(writer.save({"writer": number}, 1) for number, writer in enumerate(writers)), return_exceptions=True
    )
    won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Reference)]
    (found,) = await history(of(store))
    assert [outcomes[number] for number in won] == [found.reference]
    assert await of(store).restore() == {"writer": won[0]}
    for number, outcome in enumerate(outcomes):
        if number not in won:
            assert isinstance(outcome, CheckpointConflict)
            assert await of(store).restore(outcome.reference) == {"writer": number}


def test_one_object_serves_several_event_loops() -> None:
    checkpoints = of(MemoryStore())

    def in_a_loop_of_its_own(step: int) -> object:
        async def there_and_back() -> object:
            return await checkpoints.read(await checkpoints.save({"step": step}, step))

        return asyncio.run(there_and_back())

    async def together() -> list[object]:
        return await asyncio.gather(*(asyncio.to_thread(in_a_loop_of_its_own, step) for step in range(8)))

    assert asyncio.run(together()) == [{"step": step} for step in range(8)]


class Life:
    """One run and what happens to it, beside a model of it: every branch as the states of its steps."""

    def __init__(self, cache: int, *, keyed: bool) -> None:
        self.store = MemoryStore()
        self.cache = cache
        self.sealing = (Encrypt(Keyring(KEY)),) if keyed else ()
        self.saved: list[tuple[Reference, bytes]] = []
        self.branches: list[dict[int, bytes]] = []
        self.records: list[tuple[int, int]] = []
        self.at: tuple[int, int] | None = None
        self.chain = self.fresh()
        self.writer = Checkpoints(self.chain, run=RUN)

    def fresh(self) -> Chain:
        return Chain(Zstd(), *self.sealing, Offload(self.store, over=2048), cache=PayloadCache(self.cache))

    @property
    def tip(self) -> tuple[int, int] | None:
        return max(self.records, default=None)

    def expect(self, step: int, state: bytes) -> None:
        """What the rules say a save does: continue, find itself there already, or branch."""
        tip = self.tip
        if tip is None:
            self.at = self._add({}, step, state)
            return
        line = self.branches[-1]
        at = self.at
        if at is None:
            at = tip
            if step <= tip[1] and line.get(step) == state:
                self.at = len(self.branches) - 1, step
                return
        if at == tip and step > tip[1]:
            line[step] = state
            self.at = tip[0], step
            self.records.append(self.at)
        elif at == tip and step == tip[1] and line[step] == state:
            self.at = at
        else:
            before = self.branches[at[0]]
            kept = {other: before[other] for other in before if other < step and other <= at[1]}
            self.at = self._add(kept, step, state)

    def _add(self, kept: dict[int, bytes], step: int, state: bytes) -> tuple[int, int]:
        self.branches.append({**kept, step: state})
        self.records.append((len(self.branches) - 1, step))
        return self.records[-1]

    async def save(self, step: int, form: int) -> None:
        # Half of them as bytes: both kinds are one delta chain.
        state = FORMS[form] if form % 2 else pack(FORMS[form])
        self.expect(step, pack(state))
        self.saved.append((await self.writer.save(state, step), pack(state)))

    async def go_on(self, _: int, form: int) -> None:
        await self.save(self.tip[1] + 1 if self.tip else 0, form)

    async def rewind(self, which: int, _: int) -> None:
        if not self.records:
            return
        steps = sorted(self.branches[-1])
        step = steps[which % len(steps)]
        assert pack(await self.writer.restore(step=step)) == self.branches[-1][step]
        self.at = max(record for record in self.records if record[1] == step and self._holds(*record))

    def _holds(self, branch: int, step: int) -> bool:
        """Whether the newest branch goes through this record."""
        return self.branches[branch][step] == self.branches[-1][step]

    async def read(self, which: int, _: int) -> None:
        if self.saved:
            reference, state = self.saved[which % len(self.saved)]
            assert pack(await self.writer.read(str(reference))) == state

    async def intrude(self, step: int, form: int) -> None:
        """Another writer goes on from the newest: this one is told, and looks."""
        mine = self.at
        if self.tip is None or mine is None:
            return
        other = Checkpoints(self.fresh(), run=RUN)
        self.at = None
        state, step = pack(FORMS[form]), self.tip[1] + 1 + step
        self.expect(step, state)
        self.saved.append((await other.save(FORMS[form], step), state))
        with pytest.raises(CheckpointConflict):
            await self.writer.save(FORMS[form + 1], mine[1] + 1)
        assert pack(await self.writer.restore()) == state

    async def restart(self, *_: int) -> None:
        await self.chain.close()
        self.chain = self.fresh()
        self.writer = Checkpoints(self.chain, run=RUN)
        self.at = None

    async def resume(self, *_: int) -> None:
        await self.restart()
        if self.tip:
            branch, step = self.tip
            assert pack(await self.writer.restore()) == self.branches[branch][step]
            self.at = self.tip

    async def evict(self, *_: int) -> None:
        self.chain.cache.clear()

    async def delete_another_scope(self, *_: int) -> None:
        other = Checkpoints(self.chain, run="other")
        await other.save(FORMS[0], 0)
        tag = (await other.at()).reference.run_tag.hex()
        await other.delete()
        assert not [key for key in await keys_in(self.store) if tag in key]

    async def end(self) -> None:
        checkpoints = Checkpoints(self.fresh(), run=RUN)
        found = await history(checkpoints)
        assert [(item.branch, item.step) for item in found] == sorted(self.records)
        for item in found:
            assert pack(await checkpoints.read(item)) == self.branches[item.branch][item.step]
        for step in range(12):
            if self.branches and step in self.branches[-1]:
                assert pack(await checkpoints.read(step=step)) == self.branches[-1][step]
            else:
                with pytest.raises(PayloadNotFound):
                    await checkpoints.at(step)
        for reference, state in self.saved:
            assert pack(await Checkpoints(self.fresh(), run=RUN).restore(reference)) == state


FORMS = growing(12) + [{"other": state} for state in growing(12, seed=1)]
EVENTS = st.tuples(
    st.sampled_from(
        [
            Life.save,
            Life.go_on,
            Life.go_on,
            Life.rewind,
            Life.read,
            Life.intrude,
            Life.restart,
            Life.resume,
            Life.evict,
            Life.delete_another_scope,
        ]
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


async def written(store: MemoryStore, *steps: int) -> Checkpoints:
    writer = of(store)
    for step in steps:
        await writer.save(f"old {step}", step)
    return writer


async def places(store: MemoryStore) -> list[tuple[int, int]]:
    return [(item.branch, item.step) for item in await history(of(store))]


async def test_rewinding_resumed_the_abandoned_future() -> None:
    store = MemoryStore()
    await written(store, 1, 2, 3, 4, 5)
    again = of(store)
    assert await again.restore(step=2) == "old 2"
    await again.save("new 3", 3)
    await again.save("new 4", 4)
    fresh = of(store)
    assert await fresh.restore() == "new 4"
    assert [await fresh.read(step=step) for step in (1, 2, 3, 4)] == ["old 1", "old 2", "new 3", "new 4"]
    with pytest.raises(PayloadNotFound, match="step 5 has no checkpoint"):
        await fresh.at(5)
    assert await fresh.read(step=5, branch=0) == await fresh.read(branch=0) == "old 5"
    assert (await fresh.at(branch=1)).step == 4
    with pytest.raises(PayloadNotFound, match="branch 2"):
        await fresh.at(branch=2)
    latest = await fresh.latest()
    assert latest is not None
    assert latest.forks == ((0, 2),)
    assert await places(store) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 4)]


async def test_a_rewind_of_a_rewind_goes_through_both() -> None:
    store = MemoryStore()
    writer = await written(store, 1, 3, 5)
    await writer.restore(step=3)
    await writer.save("b 4", 4)
    await writer.save("b 6", 6)
    await writer.restore(step=4)
    await writer.save("c 5", 5)
    assert (await of(store).at()).forks == ((1, 4), (0, 3))
    assert [await of(store).read(step=step) for step in (1, 3, 4, 5)] == ["old 1", "old 3", "b 4", "c 5"]
    # And back behind both, and before all.
    await writer.restore(step=1)
    await writer.save("d 2", 2)
    assert (await of(store).at()).forks == ((0, 1),)
    with pytest.raises(PayloadNotFound):
        await of(store).at(3)
    await of(store).save("e 0", 0)
    assert (await of(store).at()).forks == ()
    assert await of(store).read(step=0) == "e 0"
    with pytest.raises(PayloadNotFound):
        await of(store).at(1)


async def test_more_branches_behind_each_other_than_a_record_lists() -> None:
    store = MemoryStore()
    writer = of(store)
    for step in range(150):
        await writer.save(f"draft {step}", step)
        await writer.save(f"final {step}", step)
    latest = await of(store).at()
    assert (latest.branch, latest.step, len(latest.forks)) == (150, 149, 64)
    for step in (149, 148, 90, 20, 0):
        assert await of(store).read(step=step) == f"final {step}"
    await of(store).save("before all", 0)
    assert await of(store).restore() == "before all"


async def test_to_look_at_an_earlier_state_is_not_to_go_on_from_it() -> None:
    store = MemoryStore()
    writer = await written(store, 1, 2, 3)
    old = await writer.at(1)
    assert (
        await writer.read(step=1)
        == await writer.read(old)
        == await writer.read(str(old.reference))
        == "old 1"
    )
    await writer.save("4", 4)
    assert await places(store) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    with pytest.raises(ConfigError, match="Give only one"):
        await writer.restore(old, step=1)


async def test_a_checkpoint_that_was_found_says_where_to_go_on() -> None:
    store = MemoryStore()
    await written(store, 1, 2, 3)
    writer = of(store)
    async for item in writer.history():
        if item.step == 2:
            assert await writer.restore(item) == "old 2"
    await writer.save("new", 3)
    assert await places(store) == [(0, 1), (0, 2), (0, 3), (1, 3)]


async def test_a_reference_goes_on_where_its_step_is_the_one_before() -> None:
    store = MemoryStore()
    first = await written(store, 1)
    reference = await first.save("two", 2)
    # The last one, as after a crash.
    writer = of(store)
    await writer.restore(str(reference))
    third = await writer.save("three", 3)
    # The same again, by another process that got the same message: it is there already.
    again = of(store)
    await again.restore(str(reference))
    assert await again.save("three", 3) == third
    # It thinks of something else.
    other = of(store)
    await other.restore(str(reference))
    await other.save("3", 3)
    assert await places(store) == [(0, 1), (0, 2), (0, 3), (1, 3)]
    assert (await of(store).at()).forks == ((0, 2),)
    # It goes over the last one once more.
    over = of(store)
    await over.restore(str(third))
    with pytest.raises(CheckpointConflict):
        await over.save("III", 3)
    await over.restore((await over.at()).reference)
    await over.save("III", 3)
    assert (await places(store))[-2:] == [(1, 3), (2, 3)]
    # Of one that is not the one before, nobody can tell what it is to be.
    for step in (1, 4, 9):
        lost = of(store)
        await lost.restore(str(reference))
        with pytest.raises(CheckpointConflict, match=f"before step {step}") as caught:
            await lost.save("4", step)
        assert await of(store).read(caught.value.reference) == "4"
    assert len(await places(store)) == 5


async def test_a_fresh_process_goes_on_from_the_newest_or_branches_below_its_step() -> None:
    store = MemoryStore()
    await written(store, 1, 3, 5)
    await of(store).save("seven", 7)
    assert await places(store) == [(0, 1), (0, 3), (0, 5), (0, 7)]
    # A retry, of the last and of an earlier one.
    await of(store).save("seven", 7)
    await of(store).save("old 3", 3)
    assert await places(store) == [(0, 1), (0, 3), (0, 5), (0, 7)]
    await of(store).save("other", 7)
    assert (await of(store).at()).forks == ((0, 5),)
    await of(store).save("four", 4)
    assert (await of(store).at()).forks == ((0, 3),)
    assert await places(store) == [(0, 1), (0, 3), (0, 5), (0, 7), (1, 7), (2, 4)]


async def test_two_writers_of_one_run_were_not_told_of_each_other() -> None:
    store = MemoryStore()
    mine = await written(store, 1, 2)
    theirs = of(store)
    await theirs.restore()
    await theirs.save("their 3", 3)
    # Whatever step it is that the slower one comes with.
    for step in (2, 3, 4):
        with pytest.raises(
            CheckpointConflict, match=r"saved step 3 \(branch 0\) of run 'run-1' at 20"
        ) as caught:
            await mine.save("my state", step)
        assert not caught.value.retryable
        assert await of(store).read(caught.value.reference) == "my state"
    assert await places(store) == [(0, 1), (0, 2), (0, 3)]
    # To look is not to agree; to restore is.
    await mine.latest()
    assert [item.step async for item in mine.history()] == [3, 2, 1]
    with pytest.raises(CheckpointConflict):
        await mine.save("my state", 4)
    assert await mine.restore() == "their 3"
    await mine.save("our 4", 4)
    with pytest.raises(CheckpointConflict):
        await theirs.save("their 4", 4)


async def test_a_zombie_is_told_after_somebody_went_back() -> None:
    store = MemoryStore()
    zombie = await written(store, 1, 2, 3)
    operator = of(store)
    await operator.restore(step=1)
    await operator.save("new 2", 2)
    with pytest.raises(CheckpointConflict, match="branch 1"):
        await zombie.save("old 4", 4)
    assert await of(store).restore() == "new 2"


WORKER = """
import asyncio, sys
from coatcheck import Chain, CheckpointConflict, Checkpoints, Encrypt, FileStore, Key, Keyring, Offload, Zstd

async def work(folder, name):
    async with Chain(Zstd(), Encrypt(Keyring(Key(bytes(range(32))))), Offload(FileStore(folder))) as chain:
        writer = Checkpoints(chain, run="run-1")
        assert await writer.restore() == "begun"
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            await writer.save(name, 2)
        except CheckpointConflict as error:
            print("told", await writer.read(error.reference))
        else:
            print("saved", name)

asyncio.run(work(*sys.argv[1:]))
"""


async def test_two_processes_that_restored_the_same_are_told_of_each_other(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "payloads")
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store))
    await Checkpoints(chain, run=RUN).save("begun", 1)
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WORKER, str(store.folder), name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("one", "other")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))
    outcomes = sorted(out.decode().split() for out, _ in said)
    (saved, winner), (told, loser) = outcomes
    assert (saved, told) == ("saved", "told")
    assert {winner, loser} == {"one", "other"}
    assert await Checkpoints(chain, run=RUN).restore() == winner
    await chain.close()


@pytest.mark.parametrize("steps", [(3, 3), (3, 4), (4, 3)])
async def test_two_who_go_back_at_the_same_time_are_told_at_once_or_with_the_next_save(
    steps: tuple[int, int],
) -> None:
    store = MemoryStore()
    await written(store, 1, 2, 5)
    writers = [of(store), of(store)]
    for writer in writers:
        await writer.restore(step=2)
    told = 0
    for turn in range(2):
        outcomes = await asyncio.gather(
            *(
                writer.save(f"{id(writer)}", step + 2 * turn)
                for writer, step in zip(writers, steps, strict=True)
            ),
            return_exceptions=True,
        )
        told += sum(isinstance(outcome, CheckpointConflict) for outcome in outcomes)
        assert all(isinstance(outcome, CheckpointConflict | Reference) for outcome in outcomes)
    assert told


async def test_the_very_same_state_of_two_writers_is_no_conflict() -> None:
    store = MemoryStore()
    await written(store, 1)
    writers = [of(store) for _ in range(4)]
    for writer in writers:
        await writer.restore()
    references = await asyncio.gather(*(writer.save("same", 2) for writer in writers))
    assert len({reference.object_id for reference in references}) == 1
    assert await places(store) == [(0, 1), (0, 2)]


async def test_a_save_that_failed_and_was_recorded_after_all_is_no_conflict() -> None:
    class Deaf(MemoryStore):
        """Does what it is told, and its answers are lost."""

        deaf = False

        async def create(self, key: str, data: bytes) -> bool:
            created = await super().create(key, data)
            if self.deaf and "/step-" in key:
                raise StoreUnavailable("nothing was heard", retry_after=60)
            return created

    store = Deaf()
    writer = of(store)
    await writer.save("1", 1)
    store.deaf = True
    with pytest.raises(StoreUnavailable):
        await writer.save("2", 2)
    store.deaf = False
    await writer.save("2", 2)
    store.deaf = True
    with pytest.raises(StoreUnavailable):
        await writer.save("3", 3)
    store.deaf = False
    await writer.save("3, otherwise", 3)
    await writer.save("4", 4)
    assert await places(store) == [(0, 1), (0, 2), (0, 3), (1, 3), (1, 4)]


async def test_a_run_with_a_million_branches_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    chain = chain_on(store)
    reference = await chain.put(pack("last"), SCOPE)
    full = Checkpoint(
        branch=999_999, step=1, saved_at=datetime.now(UTC), size=6, kind="json", reference=reference
    )
    await chain.ledger(SCOPE).create(full.position, full.model_dump_json().encode())
    assert await of(store).restore() == "last"
    assert (await of(store).at(branch=999_999)).step == 1
    with pytest.raises(LimitExceeded, match="million branches"):
        await of(store).save("other", 1)
    await of(store).save("on", 2)
    assert await of(store).restore() == "on"


async def test_a_fork_has_a_copy_and_a_life_of_its_own() -> None:
    store = MemoryStore()
    await written(store, 1, 2, 3)
    forked = await of(store).fork("other", step=2)
    assert await forked.restore() == "old 2"
    await forked.save("other 3", 3)
    assert await of(store).restore() == "old 3"
    assert await of(store).delete() == 3
    assert await of(store, run="other").restore() == "other 3"
    assert await of(store, run="other").read(step=2) == "old 2"


async def test_a_fork_into_a_run_that_has_checkpoints_is_refused_and_the_same_again_is_harmless() -> None:
    store = MemoryStore()
    await written(store, 1, 2)
    await of(store).fork("other")
    await of(store).fork("other")
    assert len(await history(of(store, run="other"))) == 1
    with pytest.raises(CheckpointConflict, match="already has checkpoints, the newest at step 2"):
        await of(store).fork("other", step=1)
    with pytest.raises(PayloadNotFound):
        await of(store).fork("third", step=9)
    assert await history(of(store, run="third")) == []


async def test_delete_leaves_nothing_of_the_run_and_all_of_others() -> None:
    store = MemoryStore()
    for state in growing(12):
        await of(store).save(state, state["step"])  # type: ignore[arg-type]
    others = of(store, run="other")
    await others.save("theirs", 1)
    tag = (await others.at()).reference.run_tag.hex()
    before = {key for key in await keys_in(store) if tag in key}
    assert await of(store).delete() == 12
    assert set(await keys_in(store)) == before
    assert await of(store).delete() == 0


async def test_what_was_saved_after_a_delete_was_a_delta_against_what_is_gone() -> None:
    store = MemoryStore()
    states = growing(12)
    writer, zombie = of(store), of(store)
    for state in states:
        await writer.save(state, state["step"])  # type: ignore[arg-type]
    await zombie.restore()
    await writer.delete()
    await writer.save(states[11], 11)
    assert await of(store).restore() == states[11]
    # Another object of the same process, which still knows the objects.
    await of(store).delete()
    same_chain = Checkpoints(writer._chain, run=RUN)
    await same_chain.save(states[11], 7)
    assert await of(store).restore() == states[11]
    with pytest.raises(CheckpointConflict):
        await writer.save(states[10], 12)
    await of(store).delete()
    with pytest.raises(CheckpointConflict, match="were deleted"):
        await zombie.save(states[10], 12)


@pytest.mark.parametrize("before", [0, 1, 5, 11, 12, 40])
async def test_deleting_what_is_older_keeps_all_that_the_rest_needs(before: int) -> None:
    store = MemoryStore()
    states = growing(12)
    writer = of(store)
    for step, state in enumerate(states):
        await writer.save(state, step)
    objects = len(await keys_in(store))
    assert await writer.delete(before=before) == min(before, 12)
    assert [item.step for item in await history(of(store))] == list(range(min(before, 12), 12))
    for step in range(before, 12):
        assert await of(store).read(step=step) == states[step]
    if before == 11:
        assert len(await keys_in(store)) < objects / 2
    # The same writer goes on, and what it writes relies on nothing that is gone.
    await writer.save({"more": states[0], "all": states}, 12)
    assert await of(store).restore() == {"more": states[0], "all": states}


async def test_a_branch_is_dropped_and_the_others_stay() -> None:
    store = MemoryStore()
    writer = await written(store, 1, 2, 3)
    await writer.restore(step=1)
    await writer.save("new 2", 2)
    assert await of(store).delete(branch=0, before=3) == 2
    assert await places(store) == [(0, 3), (1, 2)]
    assert await of(store).restore() == "new 2"
    assert await writer.delete(branch=1) == 1
    assert await of(store).restore() == "old 3"
    await writer.save("old 4", 4)
    assert await places(store) == [(0, 3), (0, 4)]
    assert await of(store).delete(branch=7) == 0


async def test_nothing_is_deleted_while_it_cannot_be_told_what_the_rest_needs() -> None:
    store = MemoryStore()
    await written(store, 1, 2, 3)
    await store.replace(record_keys(store)[0], b"?")
    before = await keys_in(store)
    with pytest.raises(FormatError, match="step-"):
        await of(store).delete(before=2)
    assert await keys_in(store) == before
    assert await of(store).delete() == 3
    assert await keys_in(store) == []


async def test_a_delete_that_is_cut_off_leaves_no_checkpoint_without_its_state() -> None:
    class Cut(MemoryStore):
        left = 10**9

        async def delete(self, key: str) -> None:
            if not self.left:
                raise StoreDenied("no more")
            self.left -= 1
            await super().delete(key)

    for left in range(30):
        store = Cut()
        for state in growing(6):
            await of(store).save(state, state["step"])  # type: ignore[arg-type]
        store.left = left
        try:
            await of(store).delete(before=4 if left % 2 else None)
        except StoreDenied:
            pass
        else:
            assert left > 2
        for item in await history(of(store)):
            assert await of(store).read(item) == growing(6)[item.step]
        store.left = 10**9
        await of(store).delete()
        assert await keys_in(store) == []


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
    assert [checkpoint.step for checkpoint in await history(after)] == [0, 1, 2, 3]
    assert await after.restore((await after.at(1)).reference) == {"step": 1, "by": "old"}
    assert await after.restore() == {"step": 3, "by": "new"}


async def test_a_step_saved_again_under_another_key_counts_as_it_was_saved_last() -> None:
    store = MemoryStore()
    old, new = Encrypt(Keyring(KEY, OTHER_KEY)), Encrypt(Keyring(OTHER_KEY, KEY))
    for number, (sealing, value) in enumerate(((old, "first"), (new, "second"), (old, "third"))):
        await under(store, sealing).save(value, step=0)
        for reading in (old, new):
            assert await under(store, reading).restore() == value
            assert [item.branch for item in await history(under(store, reading))] == list(range(number + 1))


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
