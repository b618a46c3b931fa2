"""Turns of events that chance alone would rarely bring about: each is a row of ordinary steps."""

import random
from collections.abc import Callable, Iterator
from typing import Final

from tests.machine.door import OPERATIONS
from tests.machine.payloads import FAMILIES, FRESH

PlainStep = tuple[str | int, ...]
Step = tuple[str | int | PlainStep, ...]
"""A name and small numbers, which whoever carries it out takes modulo what there is. ``("together", seed, step, step)`` and
``("killed", turns, step)`` have others inside."""

SPANS: Final = (1, 15, 50, 180, 24 * 60, 7 * 24 * 60 - 240, 7 * 24 * 60 + 60)
"""Minutes: less and more than the hour for which a process trusts what it knows, and than a grace."""
A_DAY: Final = 4
PAST_GRACE: Final = 6
MANY_WORKFLOWS: Final = 8
MOST: Final = 999
_NUMBERS: Final = 6

Scenario = Callable[[random.Random], Iterator[Step]]


def any_step(name: str, chance: random.Random) -> PlainStep:
    return (name, *_any(chance, _NUMBERS))


def forget_workflow(chance: random.Random) -> Iterator[Step]:
    """Nobody knows a workflow any more, it is swept, and some of it begins anew."""
    workflow = chance.randrange(MOST)
    yield "purge_all", workflow
    for _ in range(2):
        yield "time", PAST_GRACE
        yield "sweep", chance.randrange(MOST), workflow
    for _ in range(chance.randrange(4)):
        yield "start", chance.randrange(MOST), workflow, chance.randrange(MOST)


def crowd(chance: random.Random) -> Iterator[Step]:
    """Several processes write few payloads that are alike, again and again, while all of them trust what they know."""
    which = chance.randrange(MOST)
    for number in _alike(chance):
        yield "go_on", chance.randrange(MOST), which, number


def crowd_of_tenant(chance: random.Random) -> Iterator[Step]:
    """The same in the tenant's own scope."""
    for number in _alike(chance):
        yield "share", chance.randrange(MOST), number


def wrong_days(chance: random.Random) -> Iterator[Step]:
    """All but one workflow write something each day, and each day another cluster is asked, which knows none of them."""
    idle = chance.randrange(MANY_WORKFLOWS)
    yield "start", chance.randrange(MOST), idle, chance.randrange(MOST)
    yield "sweep", chance.randrange(MOST), 0
    for day in range(chance.randrange(12, 20)):
        yield "time", A_DAY
        for workflow in range(MANY_WORKFLOWS):
            if workflow != idle:
                yield "orphan", chance.randrange(MOST), workflow, FRESH + day
        yield "sweep_wrong", chance.randrange(MOST), 0


def old_replica(chance: random.Random) -> Iterator[Step]:
    """The replica misses that a workflow is swept and begins anew, and then answers for the store."""
    workflow, slot, silent = chance.randrange(MOST), chance.randrange(MOST), chance.randrange(MOST)
    yield "replicate", 0
    yield "purge_all", workflow
    for _ in range(2):
        yield "time", PAST_GRACE
        yield "sweep", chance.randrange(MOST), workflow
    for _ in range(chance.randrange(3, 12)):
        yield "start", chance.randrange(MOST), workflow, chance.randrange(MOST)
        yield any_step(chance.choice(("open", "replay", "evict")), chance)
        yield "fault", slot, OPERATIONS.index("get"), silent, 2, 0
        yield "replay", slot, chance.randrange(MOST)
        yield "go_on", slot, chance.randrange(MOST), chance.randrange(MOST)


SCENARIOS: Final[dict[str, Scenario]] = {
    made.__name__: made for made in (forget_workflow, crowd, crowd_of_tenant, wrong_days, old_replica)
}


def _alike(chance: random.Random) -> Iterator[int]:
    family = chance.randrange(FAMILIES)
    two = [family + FAMILIES * chance.randrange(MOST // FAMILIES) for _ in range(2)]
    for _ in range(chance.randrange(4, 10)):
        yield chance.choice(two)


def _any(chance: random.Random, count: int) -> Iterator[int]:
    for _ in range(count):
        yield chance.randrange(MOST)
