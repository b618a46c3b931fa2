"""What can happen, by families that can be left out, and how often."""

import random
from collections.abc import Iterable, Iterator
from typing import Final

from tests.machine.scenarios import MOST, SCENARIOS, Step, any_step

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
    "tenant": {"share": 8, "expire": 2, "crowd_of_tenant": 2},
    "schedules": {"schedule": 1, "trigger": 6, "unschedule": 1},
    "checkpoints": {"save": 12, "restore": 6, "history": 3, "sweep_checkpoints": 3},
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
    "planted marks": {"plant_name": 4, "plant_mark_again": 2},
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
_AT_LEAST: Final = 2
_AT_MOST: Final = 5
_TURNS: Final = 60
"""Of an event loop, in which something can be cut short."""


def random_steps(seed: int, families: frozenset[str]) -> Iterator[Step]:
    """Without an end; the same for the same seed."""
    chance = random.Random(seed)
    weights: dict[str, float] = {}
    for family in FAMILIES:
        if family in families or family == "runs":
            for name, weight in _WEIGHTS[family].items():
                weights[name] = weights.get(name, 0) + weight
    names, at_once = list(weights), [name for name in _AT_ONCE if name in weights]
    while True:
        (name,) = chance.choices(names, list(weights.values()))
        if name in SCENARIOS:
            yield from SCENARIOS[name](chance)
        elif name == "together":
            count = chance.randrange(_AT_LEAST, _AT_MOST)
            inner = (any_step(chance.choice(at_once), chance) for _ in range(count))
            yield "together", chance.randrange(MOST), *inner
        elif name == "killed":
            yield "killed", chance.randrange(_TURNS), any_step(chance.choice(at_once), chance)
        else:
            yield any_step(name, chance)


def step_names(families: Iterable[str]) -> list[str]:
    """What can happen with these families, one thing at a time."""
    names = {name for family in families for name in _WEIGHTS[family]}
    return sorted(names - SCENARIOS.keys() - {"together", "killed"})
