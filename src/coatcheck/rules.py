"""Rules: what is offloaded, above which size, and to which store, by a payload's name."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Final

from coatcheck.errors import ConfigError
from coatcheck.storage.scoped_store import ChainStore

_ANY: Final = "*"


@dataclass(frozen=True)
class Rule:
    """A row of the table that says where payloads go: ``Rule("activity:summarise*", over=65536)``.

    Of a chain's rules the first that fits a payload's name counts, and no other. What it leaves out is as the chain's
    :class:`Offload` has it, so a rule that says nothing makes an exception from those behind it. Only writing follows rules:
    whatever was written is read, by whatever rules.

    Args:
        name: The pattern: ``*`` stands for any characters, also none, all else for itself. Names are case-sensitive.
            Each engine's page says which it gives; a payload without a name fits ``*`` alone.
        over: Bytes after the codecs above which a payload is offloaded.
        inline: Keep it in the journal whatever its size, so that no store is needed; the engine has to take it.
        store: The alias of the store that it is offloaded to: one that :class:`Offload` has.

    Raises:
        ConfigError: ``name`` is empty, ``over`` is negative, or the rule keeps inline what it offloads.
    """

    name: str
    _: KW_ONLY
    over: int | None = None
    inline: bool = False
    store: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a rule has no name", "Use * for all payloads.")
        if self.over is not None and self.over < 0:
            raise ConfigError(
                f"the rule for {self.name!r} has a threshold of {self.over} bytes",
                "Use 0 to offload everything.",
            )
        if self.inline and (self.over is not None or self.store is not None):
            raise ConfigError(
                f"the rule for {self.name!r} keeps payloads inline, and says when or where to offload them",
                "Leave out inline, or over and store.",
            )

    def __repr__(self) -> str:
        told = [repr(self.name)]
        if self.over is not None:
            told.append(f"over={self.over}")
        if self.inline:
            told.append("inline=True")
        if self.store is not None:
            told.append(f"store={self.store!r}")
        return f"Rule({', '.join(told)})"


@dataclass(frozen=True, slots=True)
class Placement:
    """The treatment of payloads: what the chain's :class:`Offload` says, and a rule in its place."""

    store: ChainStore | None
    """Takes what is offloaded; None in a chain without a store."""
    over: int
    """Bytes after the codecs above which a payload is offloaded."""
    inline: bool = False
    """True if none is."""


class Placements:
    """Says where payloads go. Thread-safe.

    Args:
        rules: The chain's; the first that fits counts.
        stores: The chain's, by alias; new objects go to the first where no rule says otherwise.
        over: Bytes; where no rule says otherwise.

    Raises:
        ConfigError: A rule has no effect: there is no store, or none of its alias.
    """

    def __init__(self, rules: Iterable[Rule], stores: Mapping[str, ChainStore], over: int) -> None:
        self.default = Placement(next(iter(stores.values()), None), over)
        """The treatment of payloads that no rule matches."""
        self._rules = [(_fits(rule.name), rule, self._placement(rule, stores)) for rule in rules]
        placements = [self.default, *(placement for _, _, placement in self._rules)]
        named = {placement.store: None for placement in placements[1:] if not placement.inline}
        self.others = tuple(store for store in named if store and store is not self.default.store)
        """The stores that only rules write to."""
        offloading = {(placement.store, placement.over) for placement in placements if not placement.inline}
        self.threshold_varies = len(offloading) > len({store for store, _ in offloading})
        """True if one store has several thresholds, so that an object in it does not say that its payload is to be one."""

    def of(self, name: str) -> Placement:
        """Return what becomes of payloads with this name."""
        for fits, _, placement in self._rules:
            if fits(name):
                return placement
        return self.default

    def rule_for(self, name: str) -> Rule | None:
        """Return the rule that counts for payloads with this name; None if none fits."""
        return next((rule for fits, rule, _ in self._rules if fits(name)), None)

    def _placement(self, rule: Rule, stores: Mapping[str, ChainStore]) -> Placement:
        if not stores:
            raise ConfigError(
                f"the rule for {rule.name!r} has no effect: the chain has no store",
                "Add Offload(store) to the chain.",
            )
        if rule.store is not None and rule.store not in stores:
            raise ConfigError(
                f"the rule for {rule.name!r} names a store {rule.store!r}; the chain has {', '.join(stores)}",
                "Name one of them, or add that store: Offload(read_also={alias: store}).",
            )
        store = self.default.store if rule.store is None else stores[rule.store]
        return Placement(store, self.default.over if rule.over is None else rule.over, rule.inline)


def _fits(pattern: str) -> Callable[[str], object]:
    """Return what tells if a name fits. It takes time in proportion to the name, whatever the pattern."""
    first, *others = map(re.escape, pattern.split(_ANY))
    if not others:
        return pattern.__eq__
    *between, last = others
    # The first place where a part fits is as good as any later one, so there is no going back to try those.
    middle = "".join(f"(?>.*?{part})" for part in between)
    return re.compile(f"{first}{middle}.*{last}", re.DOTALL).fullmatch
