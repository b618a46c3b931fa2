"""Where the bytes are, and what is there more than once."""

import random

from coatcheck.doctor.journal import Form, Journal
from coatcheck.doctor.places import by_form, by_kind, by_step, largest
from coatcheck.doctor.repeats import carried, repeats
from tests.doctor.journals import OVERHEAD, agent, diagnosed, entry, event

JOURNAL = Journal(
    "c",
    (
        event(1, "Started", entry("input", b"a" * 50)),
        event(2, "Scheduled", entry("input[0]", b"b" * 300), entry("input[1]", b"c" * 20), step="fetch"),
        event(3, "Completed", entry("result", b"b" * 300), step="fetch"),
        event(4, "Scheduled", entry("input", b"r" * 90, Form.REFERENCE, stands_for=9000), step="write"),
        event(5, "Noted"),
    ),
)


def test_shares_are_sorted_and_add_up() -> None:
    kinds = by_kind(JOURNAL)
    assert [(one.name, one.count, one.size, one.payloads) for one in kinds] == [
        ("Scheduled", 2, 2 * OVERHEAD + 410, 410),
        ("Completed", 1, OVERHEAD + 300, 300),
        ("Started", 1, OVERHEAD + 50, 50),
        ("Noted", 1, OVERHEAD, 0),
    ]
    assert sum(one.size for one in kinds) == JOURNAL.size
    assert [(one.name, one.count) for one in by_step(JOURNAL)] == [("fetch", 2), ("write", 1)]


def test_forms() -> None:
    assert [(one.form, one.count, one.size, one.stands_for) for one in by_form(JOURNAL)] == [
        (Form.PLAIN, 4, 670, 670),
        (Form.REFERENCE, 1, 90, 9000),
    ]


def test_the_largest_come_first_and_of_equals_the_earliest() -> None:
    assert [(one.number, one.where, one.size) for one in largest(JOURNAL, 3)] == [
        (2, "input[0]", 300),
        (3, "result", 300),
        (4, "input", 90),
    ]


def test_repeats_cost_all_but_the_first() -> None:
    (repeat,) = repeats(JOURNAL)
    assert repeat.again == 300
    assert [(one.number, one.where) for one in repeat.places] == [(2, "input[0]"), (3, "result")]


def test_what_is_carried_along_is_found_and_what_is_new_is_not() -> None:
    chance = random.Random(1)
    said = [chance.randbytes(20_000) for _ in range(10)]
    conversation = carried(agent([b"".join(said[: turn + 1]) for turn in range(10)]))
    assert conversation.size == 20_000 * 55 + 2 + 10 * 4
    assert 0.7 < conversation.share < 45 / 55 + 0.01
    assert carried(agent(said)).share < 0.01
    assert carried(Journal("c", ())).share == 0


def test_references_are_not_looked_into() -> None:
    same = entry("input", b"r" * 5000, Form.REFERENCE)
    assert carried(Journal("c", (event(1, "E", same), event(2, "E", same)))).size == 0


def test_a_diagnosis_holds_no_payload() -> None:
    secret = b"hunter2" * 100
    assert "hunter2" not in repr(diagnosed(agent([secret] * 10)))
    assert "hunter2" not in repr(agent([secret] * 10))
