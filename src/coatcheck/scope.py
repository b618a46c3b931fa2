"""Whose payload it is."""

from dataclasses import dataclass

from coatcheck.errors import ConfigError


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

    Raises:
        ConfigError: One of them is an empty string, or there is a series without a run.
    """

    tenant: str
    run: str | None = None
    series: str | None = None

    def __post_init__(self) -> None:
        if not self.tenant or self.run == "" or self.series == "":
            raise ConfigError(
                "a scope needs a tenant, and a run and a series that are not empty",
                "Pass run=None for payloads that belong to the whole tenant.",
            )
        if self.run is None and self.series is not None:
            raise ConfigError("a series is one of runs", "Say which run.")
