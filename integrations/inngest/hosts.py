"""Limits on the size of a run."""

from typing import Final, Literal

from coatcheck.errors import ConfigError

Host = Literal["inngest", "vercel", "aws-lambda", "netlify", "google-cloud-run"]
"""Owner of the limit: Inngest itself, or the host that serves the functions."""

_LIMITS: Final[dict[str, int]] = {
    "inngest": 32 * 2**20,  # a run's state (Inngest, "Usage limits")
    "vercel": 4_500_000,  # a request's body (Vercel, "Functions: limits")
    "aws-lambda": 6 * 2**20,  # an invocation's payload (AWS, "Lambda quotas")
    "netlify": 6 * 2**20,  # a synchronous function's payload (Netlify, "Functions: limits")
    "google-cloud-run": 32 * 2**20,  # a request over HTTP/1 (Google, "Cloud Run quotas and limits")
}
_SCARCE_FROM: Final = 0.5
"""Share of the limit above which each value takes at most a reference; that many references fit into the rest."""


class Budget:
    """Budget of a run's state, and the point at which room becomes scarce.

    Args:
        limit: Bytes, or the name of the owner of a known limit.

    Raises:
        ConfigError: There is no such name, or the limit is not positive.
    """

    def __init__(self, limit: Host | int) -> None:
        size = _LIMITS.get(limit, 0) if isinstance(limit, str) else limit
        if size <= 0:
            raise ConfigError(
                f"{limit!r} is not a limit for a run", f"Use bytes, or one of {', '.join(_LIMITS)}."
            )
        self.limit = size

    def is_scarce(self, state: int) -> bool:
        """Tell if a run with a state of ``state`` bytes must use references from now on."""
        return state > self.limit * _SCARCE_FROM
