"""What every sweep does once it knows whom to ask."""

from typing import TYPE_CHECKING

from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coatcheck.retention.live import LiveRuns
    from coatcheck.retention.report import Report
    from coatcheck.retention.rules import Rules
    from coatcheck.runtime.progress import Progress


async def swept(
    engine: str,
    live: "LiveRuns | None",
    tenants: "Sequence[str]",
    *,
    rules: "Rules",
    max_share: float,
    progress: "Progress",
    delete: bool,
    moved: bool = False,
    no_runs: "Sequence[str]" = (),
) -> "Report":
    """Sweep the store of the settings, or look what a sweep would do.

    Raises:
        ConfigError: Of none of the tenants the store has anything.
        CoatcheckError: As :meth:`~coatcheck.retention.sweep.Sweep.run`.
    """
    # Slow to load, and other commands need none of it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.retention.sweep import Sweep  # noqa: PLC0415
    from coatcheck.storage.prefixes import ScopePrefixes  # noqa: PLC0415

    async with Chain.from_settings() as chain:
        work = Sweep(
            chain.store,
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
                f"{chain.store!r} has nothing that {engine} wrote for {', '.join(tenants)}, and was never swept for it",
                "Nothing was looked at. Check the store, the keys, and the names. In a new store there is nothing to sweep yet.",
            )
        return report
