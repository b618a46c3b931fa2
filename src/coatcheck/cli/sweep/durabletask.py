"""The ``coatcheck sweep durabletask`` command."""

from importlib.util import find_spec
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
    Tenants,
)
from coatcheck.cli.sweep.printing import print_report
from coatcheck.cli.sweep.running import swept
from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.retention.tally import Report
    from coatcheck.runtime.progress import Progress


def durabletask(
    *,
    address: Annotated[
        str,
        typer.Option(help="Address of the sidecar or emulator: HOST:PORT, with https:// for TLS."),
    ] = "localhost:4001",
    hub: Annotated[
        str,
        typer.Option(
            help="Task hub, sent as the taskhub metadata. Give each hub a name of its own.",
            show_default=False,
        ),
    ] = "",
    tenant: Tenants = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    no_runs: NoRuns = None,
    moved: Moved = False,
    store: StoreAlias = None,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep payloads that no orchestration or entity of a task hub can reach.

    Completed orchestrations keep payloads until they are purged. For hubs that need credentials, see DurableTaskRuns.
    Uses the stores and the keys of the settings; sweeps one store.
    Run it once a day: the first sweep marks, the first sweep after the grace deletes.
    """

    async def work(progress: "Progress") -> "Report":
        # The SDK is optional, and slow to load.
        from durabletask.client import TaskHubGrpcClient  # noqa: PLC0415

        from coatcheck.integrations.durabletask.live_runs import DurableTaskRuns  # noqa: PLC0415
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415

        metadata = [("taskhub", hub)] if hub else None
        with TaskHubGrpcClient(host_address=address, metadata=metadata) as client:
            live = DurableTaskRuns(client, tenant or ["default"], hub=hub)
            return await swept(
                live.engine,
                live,
                live.tenants,
                rules=RetentionRules(grace=grace, idle=grace),
                max_share=max_share,
                progress=progress,
                delete=delete,
                alias=store,
                moved=moved,
                no_runs=no_runs or (),
            )

    with told_in_one_line("sweep durabletask"):
        if find_spec("durabletask") is None:
            raise ConfigError("durabletask is not installed", "Run: pip install 'coatcheck[durabletask]'")
        print_report(with_progress(work), max_share, as_json=as_json)
