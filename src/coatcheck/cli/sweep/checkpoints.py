"""The ``coatcheck sweep checkpoints`` command."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.progress import with_progress
from coatcheck.cli.sweep.options import SHARE, WEEK, AsJson, Delete, Grace, MaxShare
from coatcheck.cli.sweep.printing import print_report
from coatcheck.cli.sweep.running import swept

if TYPE_CHECKING:
    from coatcheck.retention.tally import Report
    from coatcheck.runtime.progress import Progress


def checkpoints(
    *,
    keep_days: Annotated[
        int | None,
        typer.Option(
            min=1, help="Delete runs that have saved nothing for this number of days.", show_default="never"
        ),
    ] = None,
    keep_last: Annotated[
        int,
        typer.Option(
            min=0,
            max=999_999,
            help="Checkpoints to keep per idle run (nothing saved during the grace); what they do not need is deleted.",
            show_default="all",
        ),
    ] = 0,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Tenant whose runs to sweep; repeatable.", show_default="default"),
    ] = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep checkpoints that are old, or not among the latest of their run, and objects that only they need.

    Asks no engine, and leaves payloads of engines alone, even of runs with the same name.
    Runs that save during the grace are left unchanged.
    """

    async def work(progress: "Progress") -> "Report":
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415 - slow to load

        rules = RetentionRules(
            grace=grace,
            idle=None if keep_days is None else max(timedelta(days=keep_days), grace),
            keep_last=keep_last,
        )
        tenants = tenant or ["default"]
        return await swept(
            "checkpoints", None, tenants, rules=rules, max_share=max_share, progress=progress, delete=delete
        )

    with told_in_one_line("sweep checkpoints"):
        print_report(with_progress(work), max_share, as_json=as_json)
