"""Offload refuses what cannot work."""

import pytest

from coatcheck import ConfigError, MemoryStore, Offload, Scope


@pytest.mark.parametrize("alias", ["", "a" * 33, "s3://bucket", "Upper", "a b", "a\n", "ä"])
def test_aliases_are_short_names(alias: str) -> None:
    with pytest.raises(ConfigError, match="not an alias"):
        Offload(MemoryStore(), alias=alias)
    with pytest.raises(ConfigError, match="not an alias"):
        Offload(MemoryStore(), read_also={alias: MemoryStore()})


def test_one_alias_for_two_stores_is_refused() -> None:
    with pytest.raises(ConfigError, match="two stores have the alias 'default'"):
        Offload(MemoryStore(), read_also={"default": MemoryStore()})


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(ConfigError, match="-1"):
        Offload(MemoryStore(), over=-1)


@pytest.mark.parametrize(("tenant", "run"), [("", None), ("", "r"), ("t", "")])
def test_a_scope_needs_a_tenant_and_a_run_that_is_not_empty(tenant: str, run: str | None) -> None:
    with pytest.raises(ConfigError, match="tenant"):
        Scope(tenant, run)
