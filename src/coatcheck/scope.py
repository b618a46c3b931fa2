"""Whose payload it is."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from coatcheck.errors import ConfigError

ENGINES: Final = ("", "temporal", "restate", "inngest", "checkpoints")
"""Who names the runs, each by its code: the first byte of its run tags (``docs/wire-format.md``). The first is the caller."""
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
        tenant: Who owns the payload: a Temporal namespace, a customer. Not empty.
        run: The run family: a Temporal workflow ID, a Restate invocation or object key, an Inngest run ID.
            ``None`` is the tenant scope, for payloads of which the engine does not say whose they are.
        series: What the engine starts such runs for again and again, handing each what the last one gave back: a Temporal
            schedule. A run of a series opens what belongs to any other run of it.
        engine: The engine that calls the run so: ``temporal``, or another name of ``a-z 0-9 -``. Two engines that use the
            same name for a run mean two runs. Empty where the caller names runs.

    Raises:
        ConfigError: A name is an empty string or malformed, or there is a series without a run.
    """

    tenant: str
    run: str | None = None
    series: str | None = None
    engine: str = ""

    def __post_init__(self) -> None:
        if not self.tenant or self.run == "" or self.series == "":
            raise ConfigError(
                "a scope needs a tenant, and a run and a series that are not empty",
                "Pass run=None for payloads that belong to the whole tenant.",
            )
        if self.run is None and self.series is not None:
            raise ConfigError("a series requires a run", "Name the run.")
        if not _ENGINE.fullmatch(self.engine):
            raise ConfigError(
                f"{self.engine[:80]!r} is not an engine's name", "Use 1 to 32 characters of a-z 0-9 -."
            )
