"""The tenant and run that a payload belongs to."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from coatcheck.errors import ConfigError

ENGINES: Final = ("", "temporal", "restate", "inngest", "checkpoints", "langgraph", "dbos")
"""Engines that name runs, by code: the first byte of their run tags (``docs/wire-format.md``). 0 is the caller itself."""
_THIRD_PARTY: Final = 0x80
_ENGINE: Final = re.compile(r"[a-z0-9-]{0,32}")


def engine_code(engine: str) -> int:
    """Return the first byte of an engine's run tags: below 128 for :data:`ENGINES`, from 128 for all others."""
    if engine in ENGINES:
        return ENGINES.index(engine)
    return _THIRD_PARTY | hashlib.sha256(engine.encode()).digest()[0]


@dataclass(frozen=True, slots=True)
class Scope:
    """The tenant and the run family that a payload belongs to.

    Object ids, keys, dedupe and deltas never cross a scope, so a whole scope can be deleted at once.

    Args:
        tenant: The owner of the payload: a Temporal namespace, a customer. Not empty.
        run: The run family: a Temporal workflow ID, a Restate invocation or object key, an Inngest run ID.
            ``None`` is the tenant scope, for payloads that the engine does not assign to a run.
        series: The thing for which the engine starts such runs repeatedly, passing each the result of the one before: a
            Temporal schedule. Each run of a series can open the payloads of the others.
        engine: The engine that named the run: ``temporal``, or another name of ``a-z 0-9 -``. The same run name in two
            engines means two runs. Empty if the caller names the runs.

    Raises:
        ConfigError: A name is empty or malformed, or there is a series without a run.
    """

    tenant: str
    run: str | None = None
    series: str | None = None
    engine: str = ""

    def __post_init__(self) -> None:
        if not self.tenant or self.run == "" or self.series == "":
            raise ConfigError(
                "a scope has an empty tenant, run or series",
                "Name them, or pass run=None for payloads that belong to the whole tenant.",
            )
        if self.run is None and self.series is not None:
            raise ConfigError("a series requires a run", "Name the run.")
        if not _ENGINE.fullmatch(self.engine):
            raise ConfigError(
                f"{self.engine[:80]!r} is not an engine name", "Use 1 to 32 characters of a-z 0-9 -."
            )
