"""The ``coatcheck sweep dbos`` command."""

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


def dbos(
    *,
    database: Annotated[
        list[str] | None,
        typer.Option(
            envvar="DBOS_SYSTEM_DATABASE_URL",
            metavar="URL",
            help="The system database; repeatable: all of them where it is sharded, and databases of the application whose "
            "transactions use the same serializer.",
            show_default=False,
        ),
    ] = None,
    schema: Annotated[str, typer.Option(help="Schema of DBOS's tables in PostgreSQL.")] = "dbos",
    tenant: Tenants = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    no_runs: NoRuns = None,
    moved: Moved = False,
    store: StoreAlias = None,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep payloads of workflows that are not in the database any more, unless another row refers to them.

    DBOS keeps workflows until they are deleted, or collected by its retention policy or garbage_collect.
    Uses the stores and the keys of the settings; sweeps one store.
    Run it once a day: the first sweep marks, the first sweep after the grace deletes.
    """
    if not database:
        raise typer.BadParameter("give --database, or set DBOS_SYSTEM_DATABASE_URL")
    databases = database

    async def work(progress: "Progress") -> "Report":
        # The SDK is optional, and slow to load.
        from coatcheck.integrations.dbos.live_runs import DBOSRuns  # noqa: PLC0415
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415

        live = DBOSRuns(databases, tenant or ["default"], schema=schema)
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

    with told_in_one_line("sweep dbos"):
        if find_spec("dbos") is None:
            raise ConfigError("dbos is not installed", "Run: pip install 'coatcheck[dbos]'")
        print_report(with_progress(work), max_share, as_json=as_json)
