"""Limits: what is measured, turn by turn, and at which turn they are met."""

from coatcheck.doctor.journal import Journal
from coatcheck.doctor.limits import TEMPORAL, Distance, Measure, course
from tests.doctor.journals import OVERHEAD, agent, entry, event

MIB = 2**20


def distances(journal: Journal) -> dict[str, Distance]:
    return {distance.limit.name: distance for distance in course(journal).distances()}


def test_the_limits_are_those_of_the_server() -> None:
    assert {limit.name: limit.value for limit in TEMPORAL} == {
        "history_10mb": 10_485_760,
        "history_50mb": 52_428_800,
        "events_10240": 10_240,
        "events_51200": 51_200,
        "payload_2mb": 2_097_152,
        "message_4mb": 4_194_304,
    }


def test_a_turn_ends_with_what_its_answer_wrote() -> None:
    followed = course(agent([b"x" * 10, b"x" * 20]))
    first = 2 + 3 * OVERHEAD + 10
    assert followed.points[Measure.HISTORY] == (first, first + 4 + 3 * OVERHEAD + 20)
    assert followed.points[Measure.EVENTS] == (3, 6)
    assert followed.now[Measure.EVENTS] == 7
    assert followed.growth == {}


def test_an_agent_that_carries_everything_along_meets_its_end_where_it_was_foreseen() -> None:
    whole = agent([b"x" * (10_000 * turn) for turn in range(1, 121)])
    (end,) = (one for one in course(whole).distances() if one.limit.name == "history_50mb")
    assert end.met
    for turns in (10, 40, 60, 90):
        early = distances(Journal(whole.case, whole.events[: 3 * turns + 1]))["history_50mb"]
        assert not early.met
        assert early.turn is not None
        assert end.turn is not None
        assert abs(early.turn - end.turn) <= 1


def test_arguments_of_one_call_count_together() -> None:
    journal = Journal(
        "c",
        (
            event(
                1, "E", entry("input[0]", b"x" * MIB), entry("input[1]", b"x" * MIB), entry("header[a]", b"y")
            ),
        ),
    )
    assert distances(journal)["payload_2mb"].now == 2 * MIB
    assert distances(journal)["payload_2mb"].met


def test_what_one_answer_sends_counts_together() -> None:
    calls = [event(number, "E", entry("input", b"x" * MIB), batch=4) for number in range(5, 9)]
    journal = Journal("c", (event(4, "WorkflowTaskCompleted", ends_turn=True), *calls))
    message = distances(journal)["message_4mb"]
    assert (message.now, message.met, message.turn) == (4 * (MIB + OVERHEAD), True, 1)
    assert not distances(journal)["payload_2mb"].met


def test_what_was_met_after_the_last_turn_was_met_in_the_next() -> None:
    journal = agent([b"x"] * 3)
    signal = event(99, "WorkflowExecutionSignaled", entry("input", b"x" * 11 * MIB))
    assert distances(Journal("c", (*journal.events, signal)))["history_10mb"].turn == 4


def test_a_journal_without_events_is_far_from_everything() -> None:
    for distance in course(Journal("c", ())).distances():
        assert (distance.now, distance.share, distance.met, distance.turn) == (0, 0, False, None)


def test_one_large_payload_among_small_ones_is_no_trend() -> None:
    journal = agent([b"x" * (MIB if turn == 30 else 10) for turn in range(60)])
    assert distances(journal)["payload_2mb"].turn is None
    assert distances(journal)["history_50mb"].turn is None
    assert distances(journal)["events_10240"].turn is not None
