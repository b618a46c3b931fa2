"""What was found to break a promise, each as a short story. Numbers are explained where steps are carried out."""

from typing import Final

import pytest

from tests.machine.door import MISHAPS, OPERATIONS
from tests.machine.driver import tell
from tests.machine.scenarios import A_DAY, PAST_GRACE, Step
from tests.machine.vandal import NAMES

_ALIKE: Final = (0, 3, 6)
"""Payloads of which each is stored as a delta against another."""
_OTHERS: Final = (1, 4, 7)
_NOBODYS: Final = "0" * 32
_THREE_HOURS: Final = 3
_FORGOTTEN: Final[list[Step]] = [
    ("purge_all", 0),
    *(2 * [("time", PAST_GRACE), ("sweep", 0, 0)]),
]
"""Nobody knows the first workflow any more, and all of it is swept."""
_SILENT: Final[Step] = ("fault", 1, OPERATIONS.index("get"), MISHAPS.index("silent"), 2, 0)


def _plant(name: str) -> Step:
    return "plant_name", 0, NAMES.index(name)


def _wrong_weeks() -> list[Step]:
    """Everybody but the first workflow writes something each day, and each day another cluster is asked."""
    days = [
        [
            ("time", A_DAY),
            *(("orphan", 0, workflow, 1000 + day) for workflow in range(1, 8)),
            ("sweep_wrong", 0, 0),
        ]
        for day in range(20)
    ]
    return [("start", 0, 0, 0), ("sweep", 0, 0), *(step for day in days for step in day)]


STORIES: Final[dict[str, tuple[set[str], list[Step]]]] = {
    "two payloads of a tenant become deltas of each other": (
        {"tenant"},
        [("share", 0, 0), ("share", 1, 3), ("share", 1, 0), ("share", 0, 3)],
    ),
    "a sweep takes the last result of a schedule": (
        {"schedules"},
        [
            ("schedule",),
            ("trigger", 0, 0, 0),
            ("purge", 0),
            *(2 * [("time", PAST_GRACE), ("sweep", 0, 0)]),
            ("trigger", 0, 0, 0),
        ],
    ),
    "planted marks make a sweep delete a live run": (
        {"planted marks"},
        [
            ("start", 0, 0, 0),
            ("time", PAST_GRACE),
            _plant(f"sweep-lease-{_NOBODYS}-0"),
            _plant(f"sweep-deleting-{_NOBODYS}-0"),
            ("time", _THREE_HOURS),
            ("sweep", 0, 0),
        ],
    ),
    "planted marks keep writers out": (
        {"planted marks"},
        [("start", 0, 0, 0), _plant("sweep-mark"), _plant(f"sweep-lease-{_NOBODYS}-0"), ("start", 1, 0, 0)],
    ),
    "a planted record hides the checkpoints of a run": (
        {"checkpoints", "planted marks"},
        [("save", 0, 0, 0, 0), _plant(f"step-{'0' * 26}-{'f' * 16}"), ("restore", 0, 0), ("history", 0, 0)],
    ),
    "a planted record makes a live run one of checkpoints": (
        {"checkpoints", "planted marks"},
        [
            ("start", 0, 0, 0),
            _plant(f"step-{'9' * 26}-{'0' * 16}"),
            *(3 * [("time", PAST_GRACE), ("sweep_checkpoints", 0, 1)]),
        ],
    ),
    "a sweep takes what another engine wrote": (
        {"two engines"},
        [("start", 0, 2, 0), *(2 * [("time", PAST_GRACE), ("sweep", 0, 0)])],
    ),
    "a sweep asks another cluster, each day": ({"wrong engine"}, _wrong_weeks()),
    "a sweep of checkpoints takes what a run of the same name needs": (
        {"checkpoints", "shared names"},
        [
            ("start", 0, 0, 0),
            *(("save", 0, 0, step, number) for step, number in enumerate(_OTHERS)),
            *(2 * [("time", PAST_GRACE), ("sweep_checkpoints", 0, 2)]),
        ],
    ),
    "an old copy on disk is believed about its bases": (
        {"copies"},
        [
            *(("start", 1, 0, number) for number in _ALIKE[:2]),
            *_FORGOTTEN,
            ("start", 0, 0, 3),
            ("evict", 1),
            ("open", 1, 0),
            ("go_on", 1, 0, 6),
        ],
    ),
    "an old copy on disk is believed though something else is in its place": (
        {"copies", "planted objects"},
        [("start", 1, 0, 0), *_FORGOTTEN, ("plant_object", 0, 0), ("start", 1, 0, 0)],
    ),
    "a replica that missed deletions is believed about bases": (
        {"replicas", "faults"},
        [
            *(("start", 0, 0, number) for number in _ALIKE[:2]),
            ("replicate", 0),
            *_FORGOTTEN,
            ("start", 0, 0, 3),
            _SILENT,
            ("open", 1, 0),
            ("go_on", 1, 0, 6),
        ],
    ),
    **{
        f"an object that was swept is put back without what it is built on: {which}": (
            {"planted again"},
            [
                *(("start", 0, 0, number) for number in _ALIKE[:2]),
                *_FORGOTTEN,
                ("plant_again", which),
                ("start", 1, 0, 3),
            ],
        )
        for which in range(2)
    },
}


@pytest.mark.parametrize("name", STORIES)
def test_what_was_found(name: str) -> None:
    families, steps = STORIES[name]

    told = tell(steps, frozenset(families))

    assert not told.broken, told
