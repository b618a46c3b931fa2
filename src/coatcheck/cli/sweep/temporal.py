"""The ``coatcheck sweep temporal`` command."""

from typing import TYPE_CHECKING, Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.progress import with_progress
from coatcheck.cli.sweep.options import (
    SHARE,
    WEEK,
    AsJson,
    Delete,
    Grace,
    MaxShare,
    Moved,
    NoRuns,
    StoreAlias,
)
from coatcheck.cli.sweep.printing import print_report
from coatcheck.cli.sweep.running import swept
from coatcheck.cli.temporal.options import Address, Server, check_installed

if TYPE_CHECKING:
    from coatcheck.retention.tally import Report
    from coatcheck.runtime.progress import Progress


def temporal(
    *,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            help="Namespace whose payloads to sweep; repeatable.",
            show_default="TEMPORAL_NAMESPACE, or default",
        ),
    ] = None,
    address: Address = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    archived: Annotated[
        bool, typer.Option("--archived", help="Also keep payloads of runs in the visibility archive.")
    ] = False,
    nexus_callers_listed: Annotated[
        bool,
        typer.Option(
            "--nexus-callers-listed",
            help="Confirm that all namespaces which call these by Nexus are given, so that the server need not be asked.",
        ),
    ] = False,
    no_runs: NoRuns = None,
    moved: Moved = False,
    store: StoreAlias = None,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep payloads of workflows that are neither running nor retained on the server.

    Uses the stores and the keys of the settings; sweeps one store.
    Run it once a day: the first sweep marks, the first sweep after the grace deletes.
    """

    async def work(progress: "Progress") -> "Report":
        # temporalio is optional, and slow to load.
        from coatcheck.cli.temporal.server import connect  # noqa: PLC0415
        from coatcheck.integrations.temporal.live_runs import TemporalRuns  # noqa: PLC0415
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415

        rules = RetentionRules(grace=grace, idle=grace)
        client = await connect(Server(address, namespace[0] if namespace else None))
        live = TemporalRuns(
            client,
            namespace or [client.namespace],
            archived=archived,
            callers_listed=nexus_callers_listed,
            no_runs=no_runs or (),
        )
        return await swept(
            live.engine,
            live,
            live.tenants,
            rules=rules,
            max_share=max_share,
            progress=progress,
            delete=delete,
            alias=store,
            moved=moved,
            no_runs=no_runs or (),
        )

    with told_in_one_line("sweep temporal"):
        check_installed()
        print_report(with_progress(work), max_share, as_json=as_json)
