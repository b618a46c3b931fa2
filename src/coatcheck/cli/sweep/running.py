"""What every sweep does once it knows whom to ask."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coatcheck.retention.live import LiveRuns
    from coatcheck.retention.report import Report
    from coatcheck.retention.sweep import Progress
    from coatcheck.retention.verdict import Rules


async def swept(
    live: "LiveRuns | None",
    tenants: tuple[str, ...],
    rules: "Rules",
    max_share: float,
    progress: "Progress",
    *,
    delete: bool,
) -> "Report":
    """Sweep the store of the settings, or look what a sweep would do.

    Raises:
        CoatcheckError: As :meth:`~coatcheck.retention.sweep.Sweep.run`.
    """
    # Slow to load, and other commands need none of it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.retention.addresses import Addresses  # noqa: PLC0415
    from coatcheck.retention.sweep import Sweep  # noqa: PLC0415

    async with Chain.from_settings() as chain:
        work = Sweep(
            chain.store,
            Addresses(chain.sealings),
            live,
            tenants=tenants,
            rules=rules,
            max_share=max_share,
            progress=progress,
        )
        return await (work.run() if delete else work.look())
