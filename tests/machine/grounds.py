"""Where the objects of a machine can be."""

from functools import partial
from pathlib import Path

from coatcheck import FileStore, MemoryStore, Store
from tests.machine.crew import Ground

DEADLINE: float = 8.0
"""Seconds, on stores where waiting takes as long as it takes."""


def memory() -> Ground:
    """In memory, for processes that are in this one."""
    stores = MemoryStore(), MemoryStore()
    return Ground(lambda: stores, instant=True)


def files(folder: Path, *, instant: bool) -> Ground:
    """In files, for any processes."""
    return Ground(partial(_files, folder), instant=instant, deadline=8.0 if instant else DEADLINE)


def _files(folder: Path) -> tuple[Store, Store]:
    return FileStore(folder / "shared"), FileStore(folder / "replica")
