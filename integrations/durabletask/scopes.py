"""The scopes that an instance's payloads belong to."""

from typing import Final

from coatcheck.scope import Scope

ENGINE: Final = "durabletask"


def instance_scope(tenant: str, instance: str | None) -> Scope:
    """Return the scope of what an orchestration or an entity with this ID writes; the tenant's own without an ID."""
    return Scope(tenant, instance, engine=ENGINE) if instance else Scope(tenant)
