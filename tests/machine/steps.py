"""What can happen, as plain data: a name and small numbers, which whoever carries it out takes modulo what there is."""

import random
from collections.abc import Iterator
from typing import Final

from tests.machine.door import OPERATIONS
from tests.machine.payloads import FAMILIES as FAMILIES_OF_PAYLOADS
from tests.machine.payloads import FRESH

Step = tuple[str | int | tuple[str | int, ...], ...]
"""``("together", seed, step, step)`` and ``("killed", turns, step)`` have others inside."""

SPANS: Final = (1, 15, 50, 180, 24 * 60, 7 * 24 * 60 - 240, 7 * 24 * 60 + 60)
"""Minutes: less and more than the hour for which a process trusts what it knows, and than a grace."""
A_DAY: Final = 4
PAST_GRACE: Final = 6

_WEIGHTS: Final[dict[str, dict[str, float]]] = {
    "runs": {
        "start": 8,
        "go_on": 14,
        "replay": 6,
        "orphan": 1,
        "continue": 2,
        "purge": 4,
        "purge_all": 1,
        "open": 16,
        "sweep": 3,
        "time": 6,
        "restart": 2,
        "evict": 2,
        "new_loop": 1,
        "forget_workflow": 1,
        "crowd": 1,
    },
    "tenant": {"share": 8, "expire": 2, "crowd_shares": 2},
    "schedules": {"schedule": 1, "trigger": 6, "unschedule": 1},
    "checkpoints": {
        "save": 12,
        "restore": 6,
        "history": 3,
        "sweep_checkpoints": 3,
    },
    "shared names": {},
    "two engines": {"sweep": 2},
    "wrong engine": {"sweep_wrong": 2, "wrong_days": 0.1},
    "copies": {"damage_copy": 2},
    "replicas": {"replicate": 3, "replicate_deletions": 1, "damage_replica": 1, "old_replica": 0.5},
    "rotation": {"restart": 2},
    "faults": {"fault": 6},
    "kills": {"killed": 3},
    "together": {"together": 6},
    "planted objects": {"plant_object": 2, "plant_large": 1},
    "planted marks": {"plant_name": 4},
    "planted again": {"plant_again": 4},
}
FAMILIES: Final = tuple(_WEIGHTS)
_AT_ONCE: Final = (
    "go_on",
    "start",
    "replay",
    "open",
    "share",
    "save",
    "restore",
    "sweep",
    "sweep_checkpoints",
)
_OF_SEVERAL: Final = {
    "forget_workflow",
    "crowd",
    "crowd_shares",
    "wrong_days",
    "old_replica",
    "together",
    "killed",
}
WORKFLOWS_OF_MANY: Final = 8
_COUNT: Final = 6
_MOST: Final = 999


def random_steps(seed: int, families: frozenset[str]) -> Iterator[Step]:
    """Without an end; the same for the same seed."""
    chance = random.Random(seed)
    weights: dict[str, float] = {}
    for family in FAMILIES:
        if family in families or family == "runs":
            for name, weight in _WEIGHTS[family].items():
                weights[name] = weights.get(name, 0) + weight
    names = list(weights)
    while True:
        (name,) = chance.choices(names, list(weights.values()))
        yield from _made(name, chance, [one for one in _AT_ONCE if one in weights])


def step_names(families: frozenset[str]) -> list[str]:
    """What can happen with these families, one thing at a time."""
    return sorted({name for family in families for name in _WEIGHTS[family]} - _OF_SEVERAL)


def _made(name: str, chance: random.Random, at_once: list[str]) -> Iterator[Step]:
    if name == "forget_workflow":
        # Chance alone would rarely come so far: nobody knows the workflow any more, and it was swept.
        workflow = chance.randrange(_MOST)
        yield "purge_all", workflow
        for _ in range(2):
            yield "time", PAST_GRACE
            yield "sweep", chance.randrange(_MOST), workflow
        for _ in range(chance.randrange(4)):
            yield "start", chance.randrange(_MOST), workflow, chance.randrange(_MOST)
    elif name == "wrong_days":
        # All but one workflow write something each day; in the end that one is found to be dead.
        idle = chance.randrange(WORKFLOWS_OF_MANY)
        yield "start", chance.randrange(_MOST), idle, chance.randrange(_MOST)
        for day in range(chance.randrange(12, 20)):
            yield "time", A_DAY
            for workflow in range(WORKFLOWS_OF_MANY):
                if workflow != idle:
                    yield "orphan", chance.randrange(_MOST), workflow, FRESH + day
            yield "sweep_wrong", chance.randrange(_MOST), 0
    elif name == "old_replica":
        # The replica misses that a workflow is swept and begins anew, and then answers for the store.
        workflow, slot = chance.randrange(_MOST), chance.randrange(_MOST)
        yield "replicate", 0
        yield from _made("forget_workflow", chance, at_once)
        for _ in range(chance.randrange(3, 12)):
            yield "start", chance.randrange(_MOST), workflow, chance.randrange(_MOST)
            yield chance.choice((_plain("open", chance), _plain("replay", chance), _plain("evict", chance)))
            yield "fault", slot, OPERATIONS.index("get"), chance.randrange(_MOST), 2, 0
            yield "replay", slot, chance.randrange(_MOST)
            yield "go_on", slot, chance.randrange(_MOST), chance.randrange(_MOST)
    elif name in ("crowd", "crowd_shares"):
        # Several processes write few payloads that are alike, again and again, while all of them trust what they know.
        which, family = chance.randrange(_MOST), chance.randrange(FAMILIES_OF_PAYLOADS)
        alike = [family + FAMILIES_OF_PAYLOADS * chance.randrange(_MOST) for _ in range(2)]
        for _ in range(chance.randrange(4, 10)):
            slot, number = chance.randrange(_MOST), chance.choice(alike)
            yield ("share", slot, number) if name == "crowd_shares" else ("go_on", slot, which, number)
    elif name == "together":
        inner = (_plain(chance.choice(at_once), chance) for _ in range(chance.randrange(2, 5)))
        yield "together", chance.randrange(_MOST), *inner
    elif name == "killed":
        yield "killed", chance.randrange(60), _plain(chance.choice(at_once), chance)
    else:
        yield _plain(name, chance)


def _plain(name: str, chance: random.Random) -> tuple[str | int, ...]:
    return (name, *(chance.randrange(_MOST) for _ in range(_COUNT)))
