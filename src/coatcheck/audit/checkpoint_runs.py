"""Search for the runs of a tenant that have checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coatcheck.chain import Chain
from coatcheck.checkpoints.records import Checkpoint
from coatcheck.errors import FormatError, IntegrityError, LimitExceeded, PayloadNotFound
from coatcheck.format.layout import is_record, split
from coatcheck.scope import engine_code
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.records import Records
from coatcheck.storage.scoped_store import ChainStore


@dataclass(slots=True)
class Run:
    """A run with its checkpoints in the stores of a chain."""

    tags: list[str]
    """Its tags in the stores, one for each key."""
    checkpoints: int = 0
    objects: int = 0
    """Number of stored objects, including records."""
    size: int = 0
    """Bytes of those objects."""
    latest: Checkpoint | None = None
    """None if its record cannot be read."""

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        latest = self.latest.model_dump(mode="json") if self.latest else None
        return {
            "run": self.latest.run if self.latest else None,
            "tags": self.tags,
            "checkpoints": self.checkpoints,
            "objects": self.objects,
            "size": self.size,
            "latest": latest,
        }


async def find_runs(chain: Chain, tenant: str, progress: Callable[[str, int], None]) -> list[Run]:
    """Return the runs of a tenant that have checkpoints, the most recently saved first.

    Lists all objects of the tenant's checkpoints, and reads one record of each run.

    Args:
        chain: The chain with the stores.
        tenant: The tenant's name.
        progress: Called in the event loop, once per page.

    Raises:
        CoatcheckError: A store cannot or will not be listed, or a key cannot be loaded.
    """
    prefixes = ScopePrefixes(chain.sealings)
    found: dict[str, Run] = {}
    listed = 0
    engine = engine_code("checkpoints").to_bytes().hex()
    for store in chain.stores:
        scopes: dict[str, Run] = {}
        for start in await prefixes.of_tenant(tenant):
            async for page in store.client.pages(start + engine):
                for stored in page:
                    place = split(stored.key)
                    if place is None:
                        continue
                    run = scopes.setdefault(place[0], Run([place[0].split("/")[1]]))
                    run.checkpoints += is_record(place[1])
                    run.objects += 1
                    run.size += stored.size
                listed += len(page)
                progress("objects listed", listed)
        for prefix, run in scopes.items():
            if run.checkpoints:
                run.latest = await _latest(store, prefixes, prefix)
                _add(found, run)
    return sorted(found.values(), key=_when, reverse=True)


async def _latest(store: ChainStore, prefixes: ScopePrefixes, prefix: str) -> Checkpoint | None:
    records = Records(store.client, await prefixes.sealer_at(prefix))
    for entry in await records.newest(1):
        try:
            return Checkpoint.from_record(entry, await records.get(entry))
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound):
            return None
    return None


def _add(found: dict[str, Run], run: Run) -> None:
    """Add up the parts of one run that are below several prefixes after a rotation or a move to another store."""
    name = run.latest.run if run.latest else ""
    known = found.setdefault(f"run {name}" if name else run.tags[0], run)
    if known is run:
        return
    known.tags += run.tags
    known.checkpoints += run.checkpoints
    known.objects += run.objects
    known.size += run.size
    known.latest = max(
        (latest for latest in (known.latest, run.latest) if latest), key=_position, default=None
    )


def _position(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.position


def _when(run: Run) -> float:
    return run.latest.saved_at.timestamp() if run.latest else 0.0
