"""Configuration of the step that moves large payloads to a store."""

import re
from collections.abc import Mapping

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError
from coatcheck.format.wire import NAME_PATTERN
from coatcheck.storage.client import DEFAULT_DEADLINE

MAX_PAYLOAD = 256 * 2**20
"""Bytes: 256 MiB."""
DEFAULT_THRESHOLD = 2048
"""Bytes. A Temporal history of 51,200 events reaches 50 MB if its events average 1 KB, and about every third event
carries a payload: with payloads below 2 KB, a history reaches its event limit before its size limit."""


class Offload:
    """Moves payloads above a size to a store and journals a reference instead. The last step of a chain.

    Args:
        store: The store for new objects; also read from.
        over: Bytes. Payloads that are larger than this after the codecs are offloaded; others are sealed inline.
        alias: The name of ``store`` in references: 1 to 32 characters of ``a-z 0-9 _ -``. It must mean the same store
            as long as any journal refers to it. Short names keep references small.
        read_also: Other stores by alias: former ones, and those that a :class:`Rule` names. Only such a rule writes to them.
        deadline: Seconds for one call to a store, including all retries.

    Raises:
        ConfigError: An alias is malformed or used twice, or ``over`` is negative.
    """

    def __init__(
        self,
        store: Store,
        *,
        over: int = DEFAULT_THRESHOLD,
        alias: str = "default",
        read_also: Mapping[str, Store] | None = None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:
        if over < 0:
            raise ConfigError(f"over is {over} bytes, which is negative", "Use 0 to offload everything.")
        others = read_also or {}
        if alias in others:
            raise ConfigError(f"two stores have the alias {alias!r}", "Give each store its own alias.")
        self.over = over
        self.alias = alias
        self.stores: dict[str, Store] = {alias: store, **others}
        self.deadline = deadline
        for name in self.stores:
            if not re.fullmatch(NAME_PATTERN, name):
                raise ConfigError(f"{name!r} is not an alias", "Use 1 to 32 characters of a-z 0-9 _ -.")

    def __repr__(self) -> str:
        return f"Offload({self.stores[self.alias]!r}, over={self.over}, alias={self.alias!r})"
