"""The part that all sweeps share."""

from typing import TYPE_CHECKING

from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coatcheck.chain import Chain
    from coatcheck.contracts.store import Store
    from coatcheck.retention.live import LiveRuns
    from coatcheck.retention.rules import RetentionRules
    from coatcheck.retention.tally import Report
    from coatcheck.runtime.progress import Progress


async def swept(
    engine: str,
    live: "LiveRuns | None",
    tenants: "Sequence[str]",
    *,
    rules: "RetentionRules",
    max_share: float,
    progress: "Progress",
    delete: bool,
    moved: bool = False,
    no_runs: "Sequence[str]" = (),
    alias: str | None = None,
) -> "Report":
    """Sweep a store of the settings, or report what a sweep would do.

    Args:
        engine: Name of the engine whose payloads are swept.
        live: The engine's live runs; None to ask no engine.
        tenants: Tenants to sweep.
        rules: The rules for what is deleted.
        max_share: Share of all objects above which the sweep refuses.
        progress: Called with the current step and its count.
        delete: Mark and delete; without it, a dry run.
        moved: Accept another cluster or namespace than in earlier sweeps.
        no_runs: Tenants that are known to have no runs.
        alias: The store's; None for the one that the chain writes to without rules.

    Raises:
        ConfigError: The store has nothing of any of the tenants, or there is no such store.
        CoatcheckError: As for :meth:`~coatcheck.retention.sweep.Sweep.run`.
    """
    # Slow to load, and other commands do not need it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.retention.sweep import Sweep  # noqa: PLC0415
    from coatcheck.storage.prefixes import ScopePrefixes  # noqa: PLC0415

    async with Chain.from_settings() as chain:
        store = _store(chain, alias)
        work = Sweep(
            store,
            ScopePrefixes(chain.sealings),
            live,
            engine=engine,
            tenants=tuple(tenants),
            rules=rules,
            max_share=max_share,
            progress=progress,
            moved=moved,
            no_runs=no_runs,
        )
        report = await (work.run() if delete else work.look())
        if not report.found:
            raise ConfigError(
                f"{store!r} has no payloads of {engine} for {', '.join(tenants)}, and was never swept for it",
                "Nothing was swept. Check the store, the keys, and the names. A new store has nothing to sweep yet.",
            )
        return report


def _store(chain: "Chain", alias: str | None) -> "Store":
    if alias is None:
        return chain.store
    for store in chain.stores:
        if store.alias == alias:
            return store.client.store
    known = ", ".join(store.alias for store in chain.stores)
    raise ConfigError(f"there is no store {alias!r}; [offload] has {known}", "Name one of them.")
