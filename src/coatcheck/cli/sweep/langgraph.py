"""The ``coatcheck sweep langgraph`` command."""

from typing import TYPE_CHECKING

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.langgraph.options import Url, check_installed
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

if TYPE_CHECKING:
    from coatcheck.retention.tally import Report
    from coatcheck.runtime.progress import Progress


def langgraph(
    url: Url,
    *,
    tenant: Tenants = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    no_runs: NoRuns = None,
    moved: Moved = False,
    store: StoreAlias = None,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep payloads that no thread in the database of a saver has or refers to.

    A copy of a thread keeps what it refers to. Objects of a thread that is still there are never swept: prune it.
    Uses the stores and the keys of the settings; sweeps one store.
    Run it once a day: the first sweep marks, the first sweep after the grace deletes.
    """

    async def work(progress: "Progress") -> "Report":
        # LangGraph's package is optional, and slow to load.
        from coatcheck.integrations.langgraph.database.live_threads import DatabaseThreads  # noqa: PLC0415
        from coatcheck.integrations.langgraph.database.urls import tables_at  # noqa: PLC0415
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415

        rules = RetentionRules(grace=grace, idle=grace)
        async with tables_at(url, writes=False) as tables:
            live = DatabaseThreads(tables, tenant or ["default"])
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

    with told_in_one_line("sweep langgraph"):
        check_installed()
        print_report(with_progress(work), max_share, as_json=as_json)
