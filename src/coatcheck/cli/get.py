"""The ``coatcheck get`` command."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.output import check_output, write_output
from coatcheck.cli.temporal.options import Address, RunId, Server, check_installed
from coatcheck.errors import ConfigError, FormatError

_OURS = "wKfE7"
"""The start of the base64 of our magic bytes, up to the last character that they alone determine."""
_HARMLESS = frozenset("\n\r\t")
"""Unprintable characters that are harmless to a terminal."""


def get(
    what: Annotated[
        str,
        typer.Argument(
            help="A reference or an envelope as text: base64, hexadecimal, `coatcheck:...` or "
            '`{"__coatcheck__": "..."}`; or a workflow ID.',
            show_default=False,
        ),
    ],
    *,
    event: Annotated[
        int | None,
        typer.Option(min=1, help="Number of the workflow's event.", show_default="list all payloads"),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="Field of the event that has the payload.", show_default="the only one")
    ] = None,
    run_id: RunId = None,
    address: Address = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "--tenant",
            envvar="TEMPORAL_NAMESPACE",
            help="Namespace of the workflow, or tenant of the reference or envelope.",
            show_default="default",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file.", show_default="standard output")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="List payloads as JSON.")] = False,
) -> None:
    """Decode a payload: from an envelope, a reference, or a workflow's history.

    With only a workflow ID, list the payloads of the history without decoding them.
    With --event, print the data of one payload, decoded with the chain of the settings.
    """
    from coatcheck.format.shown import MESSAGE, sealed_in_text  # noqa: PLC0415 - slow to load

    is_sealed = what.removeprefix(MESSAGE).startswith(_OURS) or sealed_in_text(what) is not None
    if is_sealed and (event or field or run_id):
        raise typer.BadParameter(
            "--event, --field and --run-id need a workflow ID, but this is a reference or an envelope"
        )
    if not is_sealed and event is None and (field or output):
        raise typer.BadParameter("--field and --output need --event; without it payloads are only listed")
    with told_in_one_line("get"):
        if output:
            check_output(output, force=force)
        if is_sealed:
            _deliver(_behind(what, namespace or "default"), output, force=force)
            return
        check_installed()
        server = Server(address, namespace)
        if event is None:
            _list(what, run_id, server, as_json=as_json)
        else:
            _deliver(_of_event(what, run_id, server, event, field), output, force=force)


def _behind(text: str, tenant: str) -> bytes:
    """Decode the envelope or the reference that a text shows."""
    # Slow to load, and other commands do not need it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.format.shown import sealed_in_text  # noqa: PLC0415
    from coatcheck.scope import Scope  # noqa: PLC0415

    data, scope = sealed_in_text(text), Scope(tenant)
    if data is None:
        raise FormatError(
            "not a coatcheck envelope or reference", "The text is damaged or cut off: copy all of it."
        )

    async def opened() -> bytes:
        async with Chain.from_settings() as chain:
            return await chain.open(data, scope)

    return asyncio.run(opened())


def _of_event(workflow_id: str, run_id: str | None, server: Server, number: int, field: str | None) -> bytes:
    from coatcheck.cli.doctor.bar import Bar  # noqa: PLC0415 - slow to load
    from coatcheck.cli.temporal.payloads import data_of  # noqa: PLC0415 - temporalio is optional

    with Bar() as bar:
        return asyncio.run(data_of(workflow_id, run_id, server, bar, number=number, where=field))


def _list(workflow_id: str, run_id: str | None, server: Server, *, as_json: bool) -> None:
    from coatcheck.cli.doctor.bar import Bar  # noqa: PLC0415 - slow to load
    from coatcheck.cli.doctor.words import printable  # noqa: PLC0415 - slow to load
    from coatcheck.cli.temporal.payloads import payloads  # noqa: PLC0415 - temporalio is optional

    with Bar() as bar:
        found = asyncio.run(payloads(workflow_id, run_id, server, bar))
    if as_json:
        typer.echo(json.dumps([asdict(place) for place in found], indent=1))
        return
    typer.echo(f"{'event':>6}  {'bytes':>11}  {'payload':>13}  {'form':<22}  event type, activity, field")
    for place in found:
        names = ", ".join(printable(name) for name in (place.kind, place.step, place.where) if name)
        typer.echo(
            f"{place.number:>6}  {place.size:>11,}  {place.stands_for:>13,}  {place.form:<22}  {names}"
        )


def _deliver(data: bytes, output: Path | None, *, force: bool) -> None:
    if output:
        write_output(output, data, force=force)
        return
    if sys.stdout.isatty() and not _is_text(data):
        raise ConfigError(
            f"the payload is binary, {len(data):,} bytes, and would garble the terminal",
            "Write it to a file with --output.",
        )
    typer.echo(data, nl=False)


def _is_text(data: bytes) -> bool:
    """Return True if the data is text without escape sequences."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in _HARMLESS for character in text)
