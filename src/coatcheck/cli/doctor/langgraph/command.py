"""The ``coatcheck doctor langgraph`` command."""

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.output import check_output, write_output
from coatcheck.errors import ConfigError


def langgraph(
    url: Annotated[
        str,
        typer.Argument(
            help="The database of a saver: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.",
            show_default=False,
        ),
    ],
    *,
    threads: Annotated[
        int, typer.Option(min=1, help="Most threads to read value by value; the largest ones.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records instead of tables.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write an HTML page with charts to this file.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --html.")] = False,
) -> None:
    """Show where the bytes of LangGraph's checkpoints are, how they grow, and what a chain would save.

    The database is only read. Values are only measured: none is shown or sent anywhere, and no object is made of them.
    The chain under test uses the codecs and the threshold of the settings, and a store in memory.
    """
    with told_in_one_line("doctor langgraph"):
        if html:
            check_output(html, force=force)
        if find_spec("langgraph") is None or find_spec("langgraph.checkpoint") is None:
            raise ConfigError("langgraph-checkpoint is not installed", "pip install 'coatcheck[langgraph]'")
        # langgraph is optional, and slow to load.
        from coatcheck.cli.doctor.bar import Bar  # noqa: PLC0415
        from coatcheck.cli.doctor.langgraph.database import open_database  # noqa: PLC0415
        from coatcheck.cli.doctor.langgraph.examine import examine  # noqa: PLC0415
        from coatcheck.cli.doctor.langgraph.page import page  # noqa: PLC0415
        from coatcheck.cli.doctor.langgraph.tables import show  # noqa: PLC0415
        from coatcheck.doctor.thread_records import records  # noqa: PLC0415

        with Bar("rows") as bar, open_database(url) as database:
            found = asyncio.run(examine(database, threads, bar))
        if html:
            write_output(html, page(found).encode(), force=force)
        if as_json:
            typer.echo(json.dumps(records(found), indent=1))
        else:
            show(found, Console())
