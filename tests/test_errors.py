"""The error tree is the one that is drawn, and every error travels well."""

import ast
import copy
import pickle
from pathlib import Path
from typing import TypeVar

import pytest

from coatcheck import errors
from coatcheck.errors import (
    CheckpointConflict,
    CoatcheckError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    PayloadNotFound,
    StoreUnavailable,
    is_outage,
)

ROOT = Path(__file__).parents[1]
_Error = TypeVar("_Error", bound=CoatcheckError)

ALL = [
    error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, CoatcheckError)
]


def test_the_tree_is_the_one_in_the_docstring() -> None:
    drawn = [line.strip("│├└─ ").split()[0] for line in str(errors.__doc__).splitlines() if "─" in line]
    assert ["CoatcheckError", *drawn] == [error.__name__ for error in ALL]


@pytest.mark.parametrize("error", ALL)
def test_an_error_says_what_which_object_and_what_to_do(error: type[CoatcheckError]) -> None:
    raised = error("it broke", "Mend it.", "ab12")
    assert str(raised) == "it broke [object ab12]. Mend it."
    for again in travelled(raised):
        assert (str(again), again.what, again.todo, again.object_id) == (
            str(raised),
            "it broke",
            "Mend it.",
            "ab12",
        )


@pytest.mark.parametrize("error", ALL)
def test_an_object_is_named_once_and_by_the_first_who_knows_it(error: type[CoatcheckError]) -> None:
    raised = error("it broke", "Mend it.")
    assert str(raised.about("ab12").about("cd34")) == "it broke [object ab12]. Mend it."
    assert [str(again) for again in travelled(raised)] == [str(raised)] * 3


def test_a_missing_payload_is_a_missing_key() -> None:
    assert issubclass(PayloadNotFound, KeyError)


@pytest.mark.parametrize("error", [StoreUnavailable, KeyServiceError])
def test_how_long_a_service_asked_to_wait_is_kept(
    error: type[StoreUnavailable] | type[KeyServiceError],
) -> None:
    raised = error("slow down", retry_after=2.5).about("ab")
    for again in travelled(raised):
        assert again.retry_after == 2.5


def test_what_is_worth_retrying_unless_it_is_said_otherwise() -> None:
    assert {error.__name__ for error in ALL if error("it broke").retryable} == {
        "EngineError",
        "KeyServiceError",
        "KeyUnavailable",
        "PayloadNotFound",
        "StoreUnavailable",
    }


@pytest.mark.parametrize("error", [error for error in ALL if error not in (KeyDestroyed, CheckpointConflict)])
@pytest.mark.parametrize("retryable", [True, False])
def test_an_error_forgot_on_its_way_that_it_was_not_like_others_of_its_kind(
    error: type[CoatcheckError], *, retryable: bool
) -> None:
    raised = error("it broke", retryable=retryable).about("ab")
    for again in (raised, *travelled(raised)):
        assert again.retryable is retryable


def test_nobody_can_ask_a_kind_of_error_whether_to_retry() -> None:
    for error in ALL:
        assert not hasattr(error, "retryable"), "it belongs to the error"


def test_what_waits_for_an_operator_was_taken_for_an_outage() -> None:
    outages = {error.__name__ for error in ALL if is_outage(error("it broke"))}
    assert outages == {"EngineError", "KeyServiceError", "StoreUnavailable"}
    assert not is_outage(KeyServiceError("denied", retryable=False))
    assert not is_outage(OSError())


def test_a_handler_of_missing_keys_saw_neither_outages_nor_shredded_tenants() -> None:
    for error in (KeyServiceError, KeyDestroyed):
        assert issubclass(error, KeyUnavailable)
    assert not issubclass(KeyDestroyed, KeyServiceError)


def test_an_error_that_is_nobodys_fault() -> None:
    """Whatever is raised says whose fault it is: the base class is raised nowhere."""
    bare = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for folder in ("src/coatcheck", "codecs", "stores", "integrations")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "CoatcheckError"
    ]
    assert bare == []


def travelled(error: _Error) -> list[_Error]:
    """Return the error as it comes out of another process, and as a copy."""
    return [pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)]  # noqa: S301 - our own bytes
