"""The ``coatcheck doctor`` command."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.output import check_output, write_output
from coatcheck.cli.temporal.options import Address, Namespace, RunId, Server, check_installed

if TYPE_CHECKING:
    from coatcheck.doctor.diagnosis import Diagnosis


def doctor(
    workflow_id: Annotated[
        str | None, typer.Argument(help="A workflow on the server.", show_default=False)
    ] = None,
    *,
    run_id: RunId = None,
    query: Annotated[
        str | None,
        typer.Option(help="""Many workflows at once: 'WorkflowType="Agent"'.""", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Most workflows that a query reads; the latest ones.")
    ] = 20,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Output of `temporal workflow show --output json`; - for standard input.",
            show_default=False,
        ),
    ] = None,
    address: Address = None,
    namespace: Namespace = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records instead of tables.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write an HTML page with charts to this file.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --html.")] = False,
) -> None:
    """Show where the bytes of a history are, when it reaches the limits, and what a chain would save.

    Give a workflow ID, a --query or a --file.

    Payloads are only measured: none is shown or sent anywhere.
    The chain under test uses the codecs and the threshold of the settings, and a store in memory.
    """
    if sum(given is not None for given in (workflow_id, query, file)) != 1:
        raise typer.BadParameter("give exactly one of: a workflow ID, --query, --file")
    with told_in_one_line("doctor"):
        if html:
            check_output(html, force=force)
        check_installed()
        # temporalio is optional, and slow to load.
        from coatcheck.cli.doctor import examine  # noqa: PLC0415
        from coatcheck.cli.doctor.bar import Bar  # noqa: PLC0415
        from coatcheck.cli.doctor.page import page  # noqa: PLC0415

        server = Server(address, namespace)
        with Bar() as bar:
            if file is not None:
                found = [asyncio.run(examine.of_file(file, bar))]
            elif query is not None:
                found = asyncio.run(examine.of_query(query, limit, server, bar))
            else:
                found = [asyncio.run(examine.of_workflow(workflow_id or "", run_id, server, bar))]
        if html:
            write_output(html, page(found).encode(), force=force)
    if as_json:
        _print_records(found)
    else:
        _print_report(found, many=query is not None)


def _print_records(found: "list[Diagnosis]") -> None:
    from coatcheck.doctor.records import records  # noqa: PLC0415 - slow to load

    typer.echo(json.dumps([record for one in found for record in records(one)], indent=1))


def _print_report(found: "list[Diagnosis]", *, many: bool) -> None:
    from coatcheck.cli.doctor.tables import show, show_many  # noqa: PLC0415 - slow to load

    if many and not found:
        typer.echo("no workflow matches the query", err=True)
    elif many:
        show_many(found, Console())
    else:
        show(found[0], Console())
