"""The ``coatcheck sweep checkpoints`` command."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.sweep.options import SHARE, WEEK, AsJson, Delete, Grace, MaxShare
from coatcheck.cli.sweep.report import print_report
from coatcheck.cli.sweep.running import swept, with_progress

if TYPE_CHECKING:
    from coatcheck.retention.report import Report
    from coatcheck.retention.sweep import Progress


def checkpoints(
    *,
    keep_days: Annotated[
        int, typer.Option(min=1, help="Keep runs that saved something in so many days, whole.")
    ],
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Whose runs; can be given several times.", show_default="default"),
    ] = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep the checkpoints of runs whose newest one is older than so many days, with all their states.

    Give a tenant only if nothing but checkpoints is written for the runs that have some: age alone decides here.
    A run that is saved to during the grace is kept.
    """

    async def work(progress: "Progress") -> "Report":
        from coatcheck.retention.verdict import Rules  # noqa: PLC0415 - slow to load

        rules = Rules(grace=grace, idle=max(timedelta(days=keep_days), grace), checkpoints=True)
        return await swept(None, tuple(tenant or ["default"]), rules, max_share, progress, delete=delete)

    with told_in_one_line("sweep checkpoints"):
        print_report(with_progress(work), as_json=as_json)
