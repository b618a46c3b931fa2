"""Facts about a bucket's configuration."""

from dataclasses import dataclass
from typing import Literal

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG

Topic = Literal["versioning", "encryption", "lifecycle"]


@dataclass(frozen=True, slots=True)
class BucketFact:
    """One setting of a bucket, in plain words."""

    topic: Topic
    said: str
    fine: bool | None = True
    """False if payloads are in danger; None if unknown."""


def is_tenant_scope(prefix: str) -> bool:
    """Tell if all keys that begin with it are in one tenant's own scope, which may expire by age."""
    return prefix.endswith(f"/{TENANT_SCOPE_TAG.hex()}/")


def overlap(rule: str, prefix: str) -> bool:
    """Tell if a rule for keys that start with ``rule`` can apply to objects of a store below ``prefix``."""
    folder = f"{prefix.removesuffix('/')}/" if prefix else ""
    return rule.startswith(folder) or folder.startswith(rule)


def lifecycle_fact(harmful: list[str]) -> BucketFact:
    """Return the fact about rules that harm live payloads, each given as a clause."""
    if not harmful:
        return BucketFact("lifecycle", "no rule deletes or archives current objects here")
    return BucketFact(
        "lifecycle",
        f"{'; '.join(harmful)}. A run that lives longer loses its payloads: remove the rule",
        fine=False,
    )
