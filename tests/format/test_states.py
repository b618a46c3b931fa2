"""States: what comes back equals what was saved by type and value, whatever a class calls equal; else the field is named."""

import dataclasses
import math
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

import numpy as np
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer

from coatcheck import Checkpoints, FormatError, MemoryStore
from coatcheck.format.likeness import difference
from coatcheck.format.states import pack, unpack
from tests.chains import encrypted_chain


class Entity(BaseModel):
    id: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self.id == other.id

    def __hash__(self) -> int:
        return self.id


class Customer(Entity):
    name: str


class Entities(BaseModel):
    entities: list[Entity]


@dataclass(eq=False)
class ById:
    id: int
    note: str = field(default="", compare=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and self.id == other.id

    def __hash__(self) -> int:
        return self.id


@dataclass
class Holder:
    items: list[ById]


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Names(BaseModel):
    name: str = ""
    number: int = 0
    mapping: dict[str, Any] = {}
    anything: Any = None
    either: int | str = 0


class Client:
    """Something with a socket."""


@dataclass
class WithClient:
    name: str
    client: Client


@dataclass
class Nested:
    inner: list[WithClient]


@dataclass
class AnyField:
    name: str
    anything: Any = None


class Temperature(BaseModel):
    value: float
    history: list[float] = []
    by_name: dict[str, float] = {}


@dataclass
class Reading:
    values: list[float]
    inner: Temperature | None = None


CANARY = "CANARY"


def assigned(**values: Any) -> Names:
    """A model whose fields were set after it was made, which pydantic does not look at."""
    names = Names()
    for name, value in values.items():
        setattr(names, name, value)
    return names


@pytest.mark.parametrize(
    ("state", "where"),
    [
        (Entities(entities=[Entity(id=1), Customer(id=2, name=CANARY)]), "entities[1]"),
        (assigned(name=Colour.RED), "name"),
        (AnyField(Colour.RED), "name"),
        (assigned(number=Level.HIGH), "number"),
        (assigned(mapping=defaultdict(list, {CANARY: [1]})), "mapping"),
        (Names(anything=defaultdict(list)), "anything"),
        (Names(anything=OrderedDict(a=1)), "anything"),
        (Names(anything=[1, (2, 3)]), "anything[1]"),
        (Names(anything={CANARY: {CANARY: {1, 2}}}), "anything[…][…]"),
        (Names(anything={1: CANARY}), "anything[…]"),
        (Names(anything=Colour.RED), "anything"),
        (assigned(number=True), "number"),
        (assigned(number=1.0), "number"),
        (Names(anything=Decimal("1.0")), "anything"),
        (Names(anything=float("nan")), "anything"),
        (Names(anything=datetime(2026, 1, 1, tzinfo=UTC)), "anything"),
        (AnyField(CANARY, ById(1, CANARY)), "anything"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_comes_back_as_something_else_was_called_equal(state: object, where: str) -> None:
    with pytest.raises(FormatError, match="does not come back equal") as caught:
        pack(state)
    assert f" at {where}. " in str(caught.value)
    assert CANARY not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize(
    "state",
    [
        Entities(entities=[Entity(id=1)]),
        Holder([ById(1, "kept"), ById(2)]),
        Names(name="red", number=3, mapping={"a": [1, 2.0, None, True]}, either="3"),
        Temperature(value=math.nan, history=[math.inf, -math.inf, -0.0, 1.5], by_name={"x": math.nan}),
        Reading([math.nan, 1.0], Temperature(value=math.inf)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_comes_back_as_it_was_is_taken(state: object) -> None:
    again = unpack(pack(state), type(state))
    assert difference(state, again) is None
    assert repr(again) == repr(state)


class Counts(BaseModel):
    counts: defaultdict[str, list[int]] = defaultdict(list)
    when: datetime = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    uuid: UUID = UUID(int=7)
    money: Decimal = Decimal("1.50")
    colours: set[Colour] = {Colour.RED}
    queue: deque[int] = deque([1, 2])

    @cached_property
    def total(self) -> int:
        return sum(map(sum, self.counts.values()))


def test_declared_types_of_all_kinds_come_back() -> None:
    state = Counts()
    state.counts["a"].append(1)
    assert state.total == 1
    again = unpack(pack(state), Counts)
    assert type(again.counts) is defaultdict
    assert again.counts.default_factory is list
    assert difference(state, again) is None
    assert again.when.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("a", Colour.RED),
        ([1], (1,)),
        ([1, 2], [1]),
        ([1.0, 2.0], [1.0, -2.0]),
        ([1, "a"], [1, "b"]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({1: "a"}, {True: "a"}),
        ({1, 2}, {1.0, 2}),
        ({1}, {1, 2}),
        (defaultdict(int), defaultdict(list)),
        (ById(1, "a"), ById(1, "b")),
        ({ById(1, "a")}, {ById(1, "b")}),
        (Decimal("1.0"), Decimal("1.00")),
        (datetime(2026, 1, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=1)))),
        (Client(), Client()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_difference_that_equality_hides_is_seen_both_ways(old: object, new: object) -> None:
    assert difference(old, new) is not None
    assert difference(new, old) is not None
    assert difference([old], [new]) == "[0]" + (difference(old, new) or "")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner).map(list),
        max_leaves=20,
    )
)
def test_every_value_is_like_itself(value: object) -> None:
    assert difference(value, value) is None
    assert difference([value, 1], [value, 1]) is None
    assert difference([value, 1], [value, 1.0]) == "[1]"


def test_a_million_numbers_are_compared_in_no_time() -> None:
    numbers = [float(number) for number in range(1_000_000)]
    assert difference(Reading(numbers), Reading(list(numbers))) is None
    assert difference(Reading(numbers), Reading([*numbers[:-1], 0.5])) == ".values[999999]"


@pytest.mark.parametrize(
    ("state", "where"),
    [
        (WithClient("a", Client()), "client"),
        (Nested([WithClient("a", Client())]), "inner.client"),
        (AnyField("a", np.zeros(3)), "anything"),
        (AnyField("a", Client()), "anything"),
        (AnyField("a", {CANARY: [1, Client()]}), "anything[…][1]"),
        (Names(anything=[AnyField("a", Client())]), "anything[0].anything"),
        ([1, {CANARY: np.zeros(3)}], "[1][…]"),
        ({CANARY: [{CANARY: {1}}]}, "[…][0][…]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_written_leaked_a_raw_error(state: object, where: str) -> None:
    with pytest.raises(FormatError) as caught:
        pack(state)
    assert f" at {where}. " in str(caught.value)
    assert CANARY not in f"{caught.value}{caught.value.__cause__}"


def test_an_array_by_itself_is_refused() -> None:
    for state in (np.zeros(3), Client(), {1: 2}, (1,), object):
        with pytest.raises(FormatError, match="the state, a "):
            pack(state)


class Angry(BaseModel):
    value: Annotated[Any, BeforeValidator(lambda value: {}[value])] = None


class Sullen(BaseModel):
    value: Annotated[Any, PlainSerializer(lambda value: {}[value])] = None


class Unequal(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    array: Annotated[Any, BeforeValidator(np.array), PlainSerializer(lambda value: value.tolist())]


def test_code_of_the_caller_that_fails_is_no_raw_error_and_quotes_nothing() -> None:
    for state in (Angry.model_construct(value=CANARY), Sullen(value=CANARY), Unequal(array=[1.0, 2.0])):
        with pytest.raises(FormatError) as caught:
            pack(state)
        assert CANARY not in f"{caught.value}{caught.value.__cause__}"
    with pytest.raises(FormatError, match="a validator of Angry failed with KeyError") as caught:
        unpack(pack({"value": CANARY}), Angry)
    assert CANARY not in f"{caught.value}{caught.value.__cause__}"


class Turn(typing_extensions.TypedDict):
    role: str
    tools: list[Names]


class OldTurn(TypedDict):
    role: str
    tools: list[Names]


class Pair(NamedTuple):
    left: int
    right: str


MODEL = Names(name="x")
OTHER = Temperature(value=1.0)


@pytest.mark.parametrize(
    ("state", "into"),
    [
        ([MODEL, Names()], list[Names]),
        ({"a": MODEL, "b": Names()}, dict[str, Names]),
        ({"a": [MODEL], "b": [], "c": [Names(), None]}, None),
        ([[ById(1, "n")], [ById(2)]], list[list[ById]]),
        ([MODEL, None], list[Names | None]),
    ],
    ids=["list", "dict", "mixed depth", "lists", "optional"],
)
def test_lists_and_dicts_of_models_are_saved_as_they_are(state: object, into: Any) -> None:
    if into is None:
        with pytest.raises(FormatError, match="as_type"):
            pack(state)
        return
    assert difference(state, unpack(pack(state), into)) is None


@pytest.mark.parametrize(
    ("state", "as_type"),
    [
        ({"role": "user", "tools": [MODEL]}, Turn),
        ([MODEL, OTHER], list[Names | Temperature]),
        ({"a": MODEL, "b": [1, 2]}, dict[str, Names | list[int]]),
        (Pair(1, "a"), Pair),
        ((1, "a"), tuple[int, str]),
        ({1: "a"}, dict[int, str]),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime),
        ([MODEL, 7], list[Names | int]),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_a_type_says_what_a_state_does_not(state: object, as_type: Any) -> None:
    with pytest.raises(FormatError):
        pack(state)
    checkpoints = Checkpoints(encrypted_chain(MemoryStore()), run="r")
    await checkpoints.save(state, 1, as_type=as_type)
    assert difference(state, await checkpoints.restore(into=as_type)) is None


def test_a_type_that_does_not_fit_is_refused() -> None:
    for state, as_type in (((1, 2), list[int]), ([Customer(id=1, name="x")], list[Entity]), ([1], list[str])):
        with pytest.raises(FormatError):
            pack(state, as_type)
    kinds: list[Any] = [Client, list[Client], np.ndarray, "no such type", 7, {}]
    for kind in kinds:
        with pytest.raises(FormatError, match="cannot be saved as JSON"):
            pack([1], kind)
        with pytest.raises(FormatError, match="cannot be saved as JSON"):
            unpack(b"[1]", kind)


def test_an_old_typed_dict_says_what_to_do() -> None:
    state = {"role": "user", "tools": [MODEL]}
    try:
        payload = pack(state, OldTurn)
    except FormatError as error:
        assert "typing_extensions" in error.todo  # noqa: PT017 - from Python 3.12 on it is not raised
    else:
        assert unpack(payload, OldTurn) == state


class Before(BaseModel):
    goal: str
    tools: list[Names]
    by_name: dict[str, Names] = {}


class After(BaseModel):
    goal: str
    tools: list["NamesAfter"]
    by_name: dict[str, "NamesAfter"] = {}
    budget: int = Field(default=1)


class NamesAfter(BaseModel):
    name: str
    number: bool


class Required(Before):
    budget: int = Field(alias="theBudget")


@pytest.mark.parametrize(
    ("into", "where"),
    [(After, "at tools[1].number: bool_parsing"), (Required, "at theBudget: missing")],
)
def test_a_change_of_the_schema_names_the_field(into: type[BaseModel], where: str) -> None:
    state = Before(goal=CANARY, tools=[Names(number=1), Names(number=5)], by_name={CANARY: Names(number=7)})
    with pytest.raises(FormatError) as caught:
        unpack(pack(state), into)
    assert f"{where}. " in str(caught.value)
    assert CANARY not in str(caught.value)
    only = Before(goal=CANARY, tools=[], by_name={CANARY: Names(number=7)})
    if into is After:
        with pytest.raises(FormatError, match=r"at by_name\[…\]\.number: bool_parsing"):
            unpack(pack(only), into)


def test_a_dataclass_that_changed_names_the_field() -> None:
    changed = dataclasses.make_dataclass("AnyField", [("name", str), ("anything", int)])
    with pytest.raises(FormatError, match="at anything: int_type"):
        unpack(pack(AnyField(CANARY, None)), changed)


def test_states_are_the_same_json_as_before() -> None:
    assert pack(Names(name="x")) == b'{"name":"x","number":0,"mapping":{},"anything":null,"either":0}'
    state: JsonValue = {"a": [1, 2.5, None, "é"]}
    assert pack(state) == '{"a":[1,2.5,null,"é"]}'.encode()
    assert pack(Temperature(value=math.nan)) == b'{"value":NaN,"history":[],"by_name":{}}'
