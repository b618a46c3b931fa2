"""Which payloads go to a store, and to which."""

import re
from collections.abc import Mapping

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError
from coatcheck.format.wire import NAME_PATTERN
from coatcheck.storage.client import DEFAULT_DEADLINE

MAX_PAYLOAD = 256 * 2**20
"""Bytes: 256 MiB."""
DEFAULT_THRESHOLD = 2048
"""Bytes. A history of 51,200 events reaches 50 MB if its events average 1 KB, and payloads stand in about every
third event: below 2 KB a payload, a Temporal history meets its event limit before its size limit."""


class Offload:
    """Keep payloads above a size in a store and journal a reference to them. The last step of a chain.

    Args:
        store: Where new objects are written, and read from.
        over: Bytes; payloads that are larger after the codecs are offloaded, others are sealed inline.
        alias: What references call ``store``: 1 to 32 characters of ``a-z 0-9 _ -``. It must keep its meaning
            for as long as any journal refers to it; a few characters keep references small.
        read_also: Other stores by their aliases: where payloads were kept before, and those that a :class:`Rule` names. Only
            such a rule writes to them.
        deadline: Seconds that one call to a store may take, all its attempts together.

    Raises:
        ConfigError: An alias is malformed or given twice, or ``over`` is negative.
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
            raise ConfigError(f"a threshold of {over} bytes makes no sense", "Use 0 to offload everything.")
        others = read_also or {}
        if alias in others:
            raise ConfigError(f"two stores have the alias {alias!r}", "Give each store an alias of its own.")
        self.over = over
        self.alias = alias
        self.stores: dict[str, Store] = {alias: store, **others}
        self.deadline = deadline
        for name in self.stores:
            if not re.fullmatch(NAME_PATTERN, name):
                raise ConfigError(f"{name!r} is not an alias", "Use 1 to 32 characters of a-z 0-9 _ -.")

    def __repr__(self) -> str:
        return f"Offload({self.stores[self.alias]!r}, over={self.over}, alias={self.alias!r})"
