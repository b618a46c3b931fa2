"""Long runs of the machine, cut into episodes, and the shortest story that ends as badly as a long one."""

import itertools
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.machine.clocks import Clocks
from tests.machine.crew import Ground
from tests.machine.grounds import memory
from tests.machine.judge import BrokenPromiseError
from tests.machine.local_crew import LocalCrew
from tests.machine.remote_crew import RemoteCrew
from tests.machine.scenarios import Step
from tests.machine.steps import FAMILIES, random_steps
from tests.machine.world import World

EVERYTHING: Final = frozenset(FAMILIES)
_TOLD: Final = 100
"""Steps."""
_PATIENCE: Final = 60.0
"""Seconds that are spent on making a story shorter."""


@dataclass
class Outcome:
    """Of a run."""

    steps: int = 0
    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    broken: str = ""
    """Which promise; empty if none was."""
    story: list[Step] = field(default_factory=list)
    """The steps that led there."""

    def __str__(self) -> str:
        rate = self.steps / self.seconds if self.seconds else 0
        exercised = ", ".join(f"{name} {count:,}" for name, count in self.done.most_common())
        lines = [f"{self.steps:,} steps in {self.seconds:.0f} s ({rate:.0f} a second): {exercised}"]
        if self.broken:
            story = self.story if len(self.story) <= _TOLD else ["too long to be told"]
            lines += [f"broken: {self.broken}", *(f"    {step}," for step in story)]
        return "\n".join(lines)


def tell(
    steps: Iterable[Step],
    families: frozenset[str] = EVERYTHING,
    ground: Ground | None = None,
    *,
    remote: bool = False,
    end: bool = True,
) -> Outcome:
    """Carry out some steps in a world of their own, and see whether all is well in the end."""
    outcome = Outcome()
    clocks = Clocks()
    ground = ground or memory()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, clocks.leading(), _quiet():
        folder = Path(name)
        crew = RemoteCrew(ground, folder) if remote else LocalCrew(ground, folder, clocks)
        world = World(ground, crew, folder, families)
        try:
            for step in steps:
                outcome.steps += 1
                outcome.story.append(step)
                world.do(step)
            if end:
                world.end()
        except BrokenPromiseError as error:
            outcome.broken = str(error)
        finally:
            outcome.done = world.done
            world.close()
    outcome.seconds = time.perf_counter() - begun
    return outcome


@contextmanager
def _quiet() -> Iterator[None]:
    """Faults are told of in the log, thousands of times."""
    log = logging.getLogger("coatcheck")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def run(steps: int, seed: int, families: frozenset[str] = EVERYTHING, *, each: int = 1000) -> Outcome:
    """So many steps in episodes, by chance; a story that ends badly is made shorter."""
    whole = Outcome()
    for episode in itertools.count():
        if whole.steps >= steps:
            break
        length = min(each, steps - whole.steps)
        told = tell(itertools.islice(random_steps(seed + episode, families), length), families)
        whole.steps += told.steps
        whole.seconds += told.seconds
        whole.done += told.done
        if told.broken:
            whole.broken = f"episode {episode} (seed {seed + episode}), step {told.steps}: {told.broken}"
            whole.story = shortened(told.story, families)
            break
    return whole


def shortened(story: Sequence[Step], families: frozenset[str]) -> list[Step]:
    """Leave out what can be left out, in ever smaller parts, for a while."""
    until = time.monotonic() + _PATIENCE
    kept = list(story)
    size = len(kept) // 2
    while size and time.monotonic() < until:
        before = len(kept)
        start = 0
        while start < len(kept) and time.monotonic() < until:
            told = tell(kept[:start] + kept[start + size :], families)
            if told.broken:
                kept = told.story
            else:
                start += size
        if size > 1 or len(kept) == before:
            size //= 2
    return kept
