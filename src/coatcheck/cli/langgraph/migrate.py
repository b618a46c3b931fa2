"""The ``coatcheck langgraph migrate`` command."""

import json
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.langgraph.options import Url, check_installed
from coatcheck.cli.progress import with_progress
from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.integrations.langgraph.database.migration import Migrated
    from coatcheck.runtime.progress import Progress

_AES_KEY = "LANGGRAPH_AES_KEY"


def migrate(
    url: Url,
    *,
    tenant: Annotated[
        str, typer.Option(help="Tenant of the threads: ClaimCheckSaver(saver, chain, tenant=...).")
    ] = "default",
    thread: Annotated[
        list[str] | None, typer.Option(help="ID of a thread to rewrite; repeatable.", show_default="all")
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Key of metadata that stays in the clear, as in ClaimCheckSaver(clear=...); repeatable.",
            show_default="those that savers need",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be rewritten. Writes nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records instead of a table.")] = False,
) -> None:
    """Rewrite the threads of a saver in place, so that their values go through the chain of the settings.

    Reads what was written in the clear, and by LangGraph's EncryptedSerializer if LANGGRAPH_AES_KEY is set. One thread at a
    time, each in one transaction: it can be interrupted and run again. Everything that uses the database must have
    ClaimCheckSaver by then: a saver without it cannot read a rewritten thread.
    """

    async def work(progress: "Progress") -> "Migrated":
        # Optional, and slow to load.
        from coatcheck.chain import Chain  # noqa: PLC0415
        from coatcheck.integrations.langgraph.database.migration import Migration  # noqa: PLC0415
        from coatcheck.integrations.langgraph.database.urls import tables_at  # noqa: PLC0415
        from coatcheck.integrations.langgraph.rows import Rows  # noqa: PLC0415

        async with Chain.from_settings() as chain, tables_at(url, writes=not dry_run) as tables:
            migration = Migration(tables, Rows(chain, tenant, _serializer(), clear or ()), progress)
            return await (migration.look if dry_run else migration.run)(thread or ())

    with told_in_one_line("langgraph migrate"):
        check_installed()
        found = with_progress(work)
        typer.echo(json.dumps(_records(found), indent=1) if as_json else _table(found, dry=dry_run))
        if found.left:
            raise typer.Exit(1)


def _serializer() -> Any:
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer  # noqa: PLC0415 - optional
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer  # noqa: PLC0415

    if _AES_KEY not in os.environ:
        return JsonPlusSerializer()
    if find_spec("Crypto") is None:
        raise ConfigError(
            f"{_AES_KEY} is set, and pycryptodome is not installed", "Run: pip install pycryptodome"
        )
    try:
        return EncryptedSerializer.from_pycryptodome_aes()
    except ValueError:
        raise ConfigError(f"{_AES_KEY} is not a key of AES", "It has 16, 24 or 32 bytes.") from None


def _table(found: "Migrated", *, dry: bool) -> str:
    lines = [f"{'threads':>12} {'rows':>12} {'bytes':>18} {'bytes after':>18}"]
    after = "" if dry else f"{found.after:,}"
    what = "would be rewritten" if dry else "rewritten"
    lines.append(f"{found.threads:>12,} {found.rows:>12,} {found.before:>18,} {after:>18}  {what}")
    lines.append(f"{found.done_before:>12,} {'':>12} {'':>18} {'':>18}  nothing to rewrite")
    if found.left:
        lines.append(f"{len(found.left):>12,} {'':>12} {'':>18} {'':>18}  left as they are:")
        lines += [f"{thread!r}: {' '.join(why.split())}" for thread, why in found.left.items()]
    if dry:
        lines.append("Dry run. Without --dry-run they are rewritten.")
    return "\n".join(lines)


def _records(found: "Migrated") -> list[dict[str, str | int]]:
    figures: list[tuple[str, str, str | int, str]] = [
        ("rewritten", "threads", found.threads, "count"),
        ("rewritten", "rows", found.rows, "count"),
        ("rewritten", "size before", found.before, "bytes"),
        ("rewritten", "size after", found.after, "bytes"),
        ("nothing to rewrite", "threads", found.done_before, "count"),
        ("left", "threads", len(found.left), "count"),
    ]
    figures += [("left", thread, why, "reason") for thread, why in found.left.items()]
    return [{"case": case, "name": name, "value": value, "unit": unit} for case, name, value, unit in figures]
