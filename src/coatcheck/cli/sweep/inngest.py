"""The ``coatcheck sweep inngest`` command."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

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
    StoreAlias,
    Tenants,
    span,
)
from coatcheck.cli.sweep.printing import print_report
from coatcheck.cli.sweep.running import swept
from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.retention.tally import Report
    from coatcheck.runtime.progress import Progress


def inngest(
    *,
    live: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="List of the IDs of all runs to keep, one per line; - for standard input. It must be younger than half "
            "the grace.",
            show_default=False,
        ),
    ] = None,
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            parser=span,
            metavar="TIME",
            help="Sweep only runs that have written nothing for this time, such as 90d; at least the grace. Without --live the "
            "age alone decides: it must exceed the duration of the longest run, including waits, plus the time for which "
            "finished runs must stay readable.",
            show_default=False,
        ),
    ] = None,
    tenant: Tenants = None,
    grace: Grace = WEEK,
    max_share: MaxShare = SHARE,
    store: StoreAlias = None,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep step results of runs that are not listed as live, or are old enough. Give --live, --older-than or both.

    Results of functions, data of events and errors belong to the tenant, and are never swept.

    Uses the stores and the keys of the settings; sweeps one store.
    Run it once a day: the first sweep marks, the first sweep after the grace deletes.
    """
    if live is None and older_than is None:
        raise typer.BadParameter("give --live, --older-than or both")
    tenants = tenant or ["default"]

    async def work(progress: "Progress") -> "Report":
        from coatcheck.retention.rules import RetentionRules  # noqa: PLC0415 - slow to load

        rules = RetentionRules(grace=grace, idle=max(older_than or grace, grace))
        if live is None:
            return await swept(
                "inngest",
                None,
                tenants,
                rules=rules,
                max_share=max_share,
                progress=progress,
                delete=delete,
                alias=store,
            )
        # The SDK is optional, and slow to load.
        from coatcheck.integrations.inngest.live_runs import ListedRuns  # noqa: PLC0415

        with _opened(live, grace) as lines:
            runs = ListedRuns(lines, tenants)
            return await swept(
                runs.engine,
                runs,
                runs.tenants,
                rules=rules,
                max_share=max_share,
                progress=progress,
                delete=delete,
                alias=store,
            )

    with told_in_one_line("sweep inngest"):
        if live and find_spec("inngest") is None:
            raise ConfigError("inngest is not installed", "Run: pip install 'coatcheck[inngest]'")
        print_report(with_progress(work), max_share, as_json=as_json)


@contextmanager
def _opened(path: Path, grace: timedelta) -> Iterator[TextIO]:
    """Open the list of live runs.

    Raises:
        ConfigError: The list is too old: a run that started after it was written could be taken for an ended one.
        OSError: The file cannot be read.
    """
    if path == Path("-"):
        yield sys.stdin
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        if time.time() - path.stat().st_mtime > grace.total_seconds() / 2:
            raise ConfigError(f"{path} is older than half the grace", "Write a new list of the live runs.")
        yield lines
