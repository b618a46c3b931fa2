"""The error tree is the one that is drawn, and every error travels well."""

import copy
import pickle

import pytest

from coatcheck import errors
from coatcheck.errors import CoatcheckError, PayloadNotFound, StoreUnavailable

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
    for again in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):  # noqa: S301 - our own bytes
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
    assert str(pickle.loads(pickle.dumps(raised))) == str(raised)  # noqa: S301 - our own bytes


def test_a_missing_payload_is_a_missing_key() -> None:
    assert issubclass(PayloadNotFound, KeyError)


def test_how_long_a_store_asked_to_wait_is_kept() -> None:
    raised = StoreUnavailable("slow down", retry_after=2.5).about("ab")
    assert pickle.loads(pickle.dumps(raised)).retry_after == 2.5  # noqa: S301 - our own bytes


def test_what_is_worth_retrying() -> None:
    assert {error.__name__ for error in ALL if error.retryable} == {
        "KeyUnavailable",
        "PayloadNotFound",
        "StoreUnavailable",
    }
