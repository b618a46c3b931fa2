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

    Raises:
        ConfigError: The tenant or the run is an empty string.
    """

    tenant: str
    run: str | None = None

    def __post_init__(self) -> None:
        if not self.tenant or self.run == "":
            raise ConfigError(
                "a scope needs a tenant, and a run that is not empty",
                "Pass run=None for payloads that belong to the whole tenant.",
            )
