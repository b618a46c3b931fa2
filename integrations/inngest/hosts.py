"""How large a run may grow."""

from typing import Final, Literal

from coatcheck.errors import ConfigError

Host = Literal["inngest", "vercel", "aws-lambda", "netlify", "google-cloud-run"]
"""Who sets the limit: Inngest itself, or the host that the functions are served on."""

_LIMITS: Final[dict[str, int]] = {
    "inngest": 32 * 2**20,  # a run's state (Inngest, "Usage limits")
    "vercel": 4_500_000,  # a request's body (Vercel, "Functions: limits")
    "aws-lambda": 6 * 2**20,  # an invocation's payload (AWS, "Lambda quotas")
    "netlify": 6 * 2**20,  # a synchronous function's payload (Netlify, "Functions: limits")
    "google-cloud-run": 32 * 2**20,  # a request over HTTP/1 (Google, "Cloud Run quotas and limits")
}
_SCARCE_FROM: Final = 0.5
"""The share of the limit. Whatever comes after it takes a reference at most, and that many fit into the rest."""


class Budget:
    """What a run may come to, and when room becomes scarce.

    Args:
        limit: Bytes, or the name of whose limit it is.

    Raises:
        ConfigError: There is no such name, or the limit is not positive.
    """

    def __init__(self, limit: Host | int) -> None:
        size = _LIMITS.get(limit, 0) if isinstance(limit, str) else limit
        if size <= 0:
            raise ConfigError(
                f"{limit!r} is no limit of a run", f"Use bytes, or one of {', '.join(_LIMITS)}."
            )
        self.limit = size

    def is_scarce(self, state: int) -> bool:
        """Whether a run that has come to ``state`` bytes must do with references from now on."""
        return state > self.limit * _SCARCE_FROM
