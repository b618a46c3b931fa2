"""The ``coatcheck sweep restate`` command."""

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


def restate(
    *,
    admin: Annotated[
        str,
        typer.Option(
            envvar="RESTATE_ADMIN_URL",
            help="URL of the server's admin API. RESTATE_AUTH_TOKEN is sent as a bearer token if set.",
        ),
    ] = "http://localhost:9070",
    auth_token: Annotated[str | None, typer.Option(envvar="RESTATE_AUTH_TOKEN", hidden=True)] = None,
    tenant: Tenants = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    no_runs: NoRuns = None,
    moved: Moved = False,
    store: StoreAlias = None,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep payloads that no invocation, state or promise of the server can reach.

    Completed invocations keep payloads until they are purged; state keeps its payloads forever.
    Uses the stores and the keys of the settings; sweeps one store.
    Run it once a day: the first sweep marks, the first sweep after the grace deletes.
    """

    async def work(progress: "Progress") -> "Report":
        # The SDK is optional, and slow to load.
        from coatcheck.integrations.restate.live_runs import RestateRuns  # noqa: PLC0415
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415

        live = RestateRuns(admin, tenant or ["default"], token=auth_token)
        rules = RetentionRules(grace=grace, idle=grace)
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

    with told_in_one_line("sweep restate"):
        if find_spec("restate") is None:
            raise ConfigError("restate-sdk is not installed", "Run: pip install 'coatcheck[restate]'")
        print_report(with_progress(work), max_share, as_json=as_json)
