"""The ``coatcheck checkpoints`` commands: what an agent saved, on the chain that the settings describe."""

import asyncio
import difflib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.output import check_output, write_output

if TYPE_CHECKING:
    from coatcheck.checkpoints import Checkpoints

_T = TypeVar("_T")

Run = Annotated[str, typer.Option(help="Which run.")]
Tenant = Annotated[str, typer.Option(help="Whose run.")]
Step = Annotated[int | None, typer.Option(min=0, help="Which step.", show_default="the latest")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

checkpoints = typer.Typer(
    no_args_is_help=True, help="Look at the saved states of a run, and bring them back."
)


@checkpoints.command("list")
def list_(run: Run, tenant: Tenant = "default", *, as_json: AsJson = False) -> None:
    """Print every checkpoint of a run, by step. No state is fetched."""
    with told_in_one_line("checkpoints list"):
        found = _on_chain(run, tenant, lambda saved: saved.history())
    if as_json:
        typer.echo(json.dumps([checkpoint.model_dump(mode="json") for checkpoint in found], indent=1))
        return
    typer.echo(f"{'step':>8}  {'saved at (UTC)':<19}  {'bytes':>13}  kind   deltas")
    for checkpoint in found:
        typer.echo(
            f"{checkpoint.step:>8}  {checkpoint.saved_at:%Y-%m-%d %H:%M:%S}  {checkpoint.size:>13,}  "
            f"{checkpoint.kind:<5}  {len(checkpoint.reference.bases):>6}"
        )


@checkpoints.command()
def show(run: Run, tenant: Tenant = "default", *, step: Step = None, as_json: AsJson = False) -> None:
    """Print what is known of one checkpoint, with the reference that restores it."""
    with told_in_one_line("checkpoints show"):
        checkpoint = _on_chain(run, tenant, lambda saved: saved.at(step))
    facts = checkpoint.model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    reference = checkpoint.reference
    facts |= {
        "object": reference.object_id.hex(),
        "bases": " ".join(base.hex() for base in reference.bases) or "none",
        "store": reference.store,
        "key": reference.key_id.hex(),
    }
    for name, value in facts.items():
        typer.echo(f"{name:<10} {value}")


@checkpoints.command()
def restore(
    run: Run,
    tenant: Tenant = "default",
    *,
    step: Step = None,
    output: Annotated[Path | None, typer.Option(help="A file.", show_default="standard output")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a state as it was saved: bytes as they are, the rest as compact JSON.

    The file is whole or absent, and readable by its owner only.
    """
    with told_in_one_line("checkpoints restore"):
        if output:
            check_output(output, force=force)
        state = _as_saved(_on_chain(run, tenant, lambda saved: _state(saved, step)))
        if output:
            write_output(output, state, force=force)
    if not output:
        typer.echo(state, nl=False)


@checkpoints.command()
def diff(first: int, second: int, run: Run, tenant: Tenant = "default") -> None:
    """Print what changed between the states of two steps, as a unified diff of their JSON."""

    async def both(saved: "Checkpoints") -> list[Any]:
        return [await _state(saved, step) for step in (first, second)]

    with told_in_one_line("checkpoints diff"):
        old, new = _on_chain(run, tenant, both)
    if isinstance(old, bytes) or isinstance(new, bytes):
        sizes = [
            f"step {step}: {len(_as_saved(state)):,} bytes" for step, state in ((first, old), (second, new))
        ]
        typer.echo(f"{sizes[0]}\n{sizes[1]}\n{'equal' if old == new else 'different'}")
        return
    for line in difflib.unified_diff(
        _pretty(old), _pretty(new), f"step {first}", f"step {second}", lineterm=""
    ):
        typer.echo(line)


def _on_chain(run: str, tenant: str, work: "Callable[[Checkpoints], Awaitable[_T]]") -> _T:
    # Slow to load, and other commands need none of it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.checkpoints import Checkpoints  # noqa: PLC0415

    async def opened() -> _T:
        async with Chain.from_settings() as chain:
            return await work(Checkpoints(chain, run=run, tenant=tenant))

    return asyncio.run(opened())


async def _state(saved: "Checkpoints", step: int | None) -> Any:
    return await saved.restore((await saved.at(step)).reference)


def _as_saved(state: Any) -> bytes:
    from pydantic_core import to_json  # noqa: PLC0415 - slow to load

    return state if isinstance(state, bytes) else to_json(state)


def _pretty(state: Any) -> list[str]:
    return json.dumps(state, indent=1, ensure_ascii=False).splitlines()
