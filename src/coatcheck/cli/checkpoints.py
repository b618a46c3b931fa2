"""The ``coatcheck checkpoints`` commands, on the chain of the settings."""

import asyncio
import difflib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.output import check_output, write_output
from coatcheck.cli.progress import with_progress
from coatcheck.errors import ConfigError, FormatError, PayloadNotFound

if TYPE_CHECKING:
    from coatcheck.audit.checkpoint_runs import Run as FoundRun
    from coatcheck.checkpoints.checkpoints import Checkpoint, Checkpoints, DamagedCheckpoint
    from coatcheck.runtime.progress import Progress

_T = TypeVar("_T")

_MANY = 1000
_UNSEEN = re.compile(r"[^\x20-\x7e]")

Run = Annotated[str, typer.Option(help="Name of the run.")]
Tenant = Annotated[str, typer.Option(help="Tenant of the run.")]
Step = Annotated[int | None, typer.Option(min=0, help="Number of the step.", show_default="the latest")]
Branch = Annotated[
    int | None, typer.Option(min=0, help="Number of the branch.", show_default="the one saved last")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

checkpoints = typer.Typer(no_args_is_help=True, help="Show and restore the saved states of a run.")


@checkpoints.command()
def runs(tenant: Tenant = "default", *, as_json: AsJson = False) -> None:
    """List the runs that have checkpoints, the most recently saved first.

    Lists all objects of the tenant's checkpoints, which is slow with millions of them. Names of runs are encrypted in the
    records: reading them needs the keys.
    """

    async def work(progress: "Progress") -> "list[FoundRun]":
        from coatcheck.audit.checkpoint_runs import find_runs  # noqa: PLC0415 - slow to load

        async with _chain() as chain:
            return await find_runs(chain, tenant, progress)

    with told_in_one_line("checkpoints runs"):
        found = with_progress(work)
        if not found:
            raise PayloadNotFound(
                f"tenant {tenant!r} has no run with checkpoints",
                "Check the tenant and the store, and that the keyring has the key they were saved with.",
            )
    if as_json:
        typer.echo(json.dumps([run.facts() for run in found], indent=1))
        return
    typer.echo(f"{'checkpoints':>11}  {'bytes':>13}  {'last saved (UTC)':<19}  {'step':>8}  run")
    for run in found:
        latest = run.latest
        when, step = (f"{latest.saved_at:%Y-%m-%d %H:%M:%S}", latest.step) if latest else ("", "")
        name = _shown(latest.run) if latest else f"not readable: {' '.join(run.tags)}"
        typer.echo(f"{run.checkpoints:>11,}  {run.size:>13,}  {when:<19}  {step:>8}  {name}")


@checkpoints.command("list")
def list_(
    run: Run,
    tenant: Tenant = "default",
    *,
    last: Annotated[int, typer.Option(min=1, help="Number of checkpoints to list, the newest.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="List all checkpoints.")] = False,
    as_json: AsJson = False,
) -> None:
    """List checkpoints of a run, the newest first, including those of abandoned branches. Fetches no state."""
    with told_in_one_line("checkpoints list"):
        count, more = with_progress(
            lambda progress: _list(run, tenant, None if everything else last, progress, as_json=as_json)
        )
        if not count:
            raise _nothing_of(run)
    if more:
        typer.echo(f"older ones are not shown; use --last {last * 10} or --all", err=True)


async def _list(
    run: str, tenant: str, last: int | None, progress: "Progress", *, as_json: bool
) -> tuple[int, bool]:
    """Print rows as they arrive; return their number, and whether there are more."""
    write = _Json() if as_json else _Table()
    count = 0
    async with _chain() as chain:
        async for found in _checkpoints(chain, run, tenant).listing(limit=last and last + 1):
            if count == last:
                write.end()
                return count, True
            write.row(found)
            count += 1
            if count % _MANY == 0:
                progress("checkpoints", count)
    if count:
        write.end()
    return count, False


class _Table:
    def __init__(self) -> None:
        from coatcheck.checkpoints.checkpoints import DamagedCheckpoint  # noqa: PLC0415 - slow to load

        self._begun = False
        self._damaged = DamagedCheckpoint

    def row(self, found: "Checkpoint | DamagedCheckpoint") -> None:
        if not self._begun:
            typer.echo(
                f"{'branch':>6}  {'step':>8}  {'saved at (UTC)':<19}  {'bytes':>13}  kind   deltas  forked from"
            )
            self._begun = True
        start = f"{found.branch:>6}  {found.step:>8}  "
        if isinstance(found, self._damaged):
            typer.echo(f"{start}cannot be read: {found.error.what}: {found.record}")
            return
        forked = f"step {found.forks[0].step} of {found.forks[0].branch}" if found.forks else ""
        typer.echo(
            f"{start}{found.saved_at:%Y-%m-%d %H:%M:%S}  {found.size:>13,}  {found.kind:<5}  "
            f"{len(found.reference.bases):>6}  {forked}".rstrip()
        )

    def end(self) -> None:
        """Print nothing: a table has no end mark."""


class _Json:
    def __init__(self) -> None:
        self._before = "[\n"

    def row(self, found: "Checkpoint | DamagedCheckpoint") -> None:
        from coatcheck.checkpoints.checkpoints import Checkpoint  # noqa: PLC0415 - slow to load

        facts = (
            found.model_dump(mode="json")
            if isinstance(found, Checkpoint)
            else {
                "branch": found.branch,
                "step": found.step,
                "record": found.record,
                "error": str(found.error),
            }
        )
        typer.echo(f"{self._before} {json.dumps(facts)}", nl=False)
        self._before = ",\n"

    def end(self) -> None:
        typer.echo("\n]")


@checkpoints.command()
def show(
    run: Run,
    tenant: Tenant = "default",
    *,
    step: Step = None,
    branch: Branch = None,
    as_json: AsJson = False,
) -> None:
    """Show one checkpoint, with the reference that restores it."""
    with told_in_one_line("checkpoints show"):
        checkpoint = _on_chain(run, tenant, lambda saved: saved.at(step, branch=branch))
    facts = checkpoint.model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    reference = checkpoint.reference
    facts |= {
        "run": _shown(checkpoint.run),
        "forks": ", ".join(f"step {fork.step} of {fork.branch}" for fork in checkpoint.forks) or "none",
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
    branch: Branch = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file.", show_default="standard output")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --output.")] = False,
) -> None:
    """Write a state as it was saved: bytes unchanged, everything else as compact JSON.

    The file is written completely or not at all, and is readable by its owner only. A terminal gets only JSON with non-ASCII
    characters escaped, never raw bytes.
    """
    with told_in_one_line("checkpoints restore"):
        if output:
            check_output(output, force=force)
        state = _on_chain(run, tenant, lambda saved: saved.read(step=step, branch=branch))
        if output:
            write_output(output, _as_saved(state), force=force)
        elif sys.stdout.isatty():
            typer.echo(_for_terminal(state))
        else:
            typer.echo(_as_saved(state), nl=False)


@checkpoints.command()
def diff(
    first: Annotated[str, typer.Argument(help="The old state: STEP or BRANCH:STEP.")],
    second: Annotated[str, typer.Argument(help="The new state: STEP or BRANCH:STEP.")],
    run: Run,
    tenant: Tenant = "default",
) -> None:
    """Show the changes between the states of two steps, as a unified diff of their JSON."""

    async def both(saved: "Checkpoints") -> list[tuple[str, Any]]:
        found = []
        for step, branch in map(_place, (first, second)):
            checkpoint = await saved.at(step, branch=branch)
            name = f"step {checkpoint.step} (branch {checkpoint.branch})"
            found.append((name, await saved.read(checkpoint)))
        return found

    with told_in_one_line("checkpoints diff"):
        (old_name, old), (new_name, new) = _on_chain(run, tenant, both)
    if isinstance(old, bytes) or isinstance(new, bytes):
        for name, state in ((old_name, old), (new_name, new)):
            typer.echo(f"{name}: {len(_as_saved(state)):,} bytes")
        typer.echo("equal" if old == new else "different")
        return
    for line in difflib.unified_diff(_pretty(old), _pretty(new), old_name, new_name, lineterm=""):
        typer.echo(_shown(line))


@checkpoints.command()
def fork(
    run: Run,
    to: Annotated[str, typer.Option(help="Name of the new run. It must have no checkpoints yet.")],
    tenant: Tenant = "default",
    *,
    step: Step = None,
    branch: Branch = None,
) -> None:
    """Copy a state into a new run, which can continue from it."""

    async def work(saved: "Checkpoints") -> "Checkpoint":
        return await (await saved.fork(to, step=step, branch=branch)).at()

    with told_in_one_line("checkpoints fork"):
        checkpoint = _on_chain(run, tenant, work)
    typer.echo(f"run {_shown(to)!r} starts at step {checkpoint.step}, {checkpoint.size:,} bytes")


@checkpoints.command()
def delete(
    run: Run,
    tenant: Tenant = "default",
    *,
    before: Annotated[
        int | None, typer.Option(min=0, help="Delete only steps below this one.", show_default="all")
    ] = None,
    branch: Annotated[
        int | None, typer.Option(min=0, help="Delete only on this branch.", show_default="all")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Confirm. Deleted checkpoints cannot be restored.")
    ] = False,
) -> None:
    """Delete checkpoints of a run for good, and objects that only they need. First stop anything that saves to the run."""
    with told_in_one_line("checkpoints delete"):
        if not yes:
            raise ConfigError("nothing was deleted", "Use --yes to delete for good.")
        count = _on_chain(run, tenant, lambda saved: saved.delete(before=before, branch=branch))
        if not count and before is None and branch is None:
            raise _nothing_of(run)
    typer.echo(f"{count:,} checkpoints were deleted")


@asynccontextmanager
async def _chain() -> AsyncIterator[Any]:
    # Slow to load, and other commands do not need it.
    from coatcheck.chain import Chain  # noqa: PLC0415

    async with Chain.from_settings() as chain:
        yield chain


def _checkpoints(chain: Any, run: str, tenant: str) -> "Checkpoints":
    from coatcheck.checkpoints.checkpoints import Checkpoints  # noqa: PLC0415 - slow to load

    return Checkpoints(chain, run=run, tenant=tenant)


def _on_chain(run: str, tenant: str, work: "Callable[[Checkpoints], Awaitable[_T]]") -> _T:
    async def opened() -> _T:
        async with _chain() as chain:
            return await work(_checkpoints(chain, run, tenant))

    return asyncio.run(opened())


def _nothing_of(run: str) -> PayloadNotFound:
    return PayloadNotFound(
        f"run {run!r} has no checkpoint",
        "Check the run and the tenant, and that the keyring has the key it was saved with;"
        " coatcheck checkpoints runs lists the runs that have checkpoints.",
    )


def _place(said: str) -> tuple[int, int | None]:
    parts = re.fullmatch(r"(?:([0-9]{1,6}):)?([0-9]{1,19})", said)
    if parts is None:
        raise ConfigError(
            f"{said[:80]!r} is not a step", "Give a step such as 7, or a branch and a step: 1:7."
        )
    return int(parts[2]), int(parts[1]) if parts[1] else None


def _as_saved(state: Any) -> bytes:
    from pydantic_core import to_json  # noqa: PLC0415 - slow to load

    return state if isinstance(state, bytes) else to_json(state)


def _for_terminal(state: Any) -> str:
    if isinstance(state, bytes):
        raise FormatError(
            f"the state is binary, {len(state):,} bytes, and could contain control sequences for the terminal",
            "Write it to a file with --output, or into a pipe.",
        )
    return _UNSEEN.sub(_escaped, _as_saved(state).decode())


def _escaped(character: "re.Match[str]") -> str:
    return json.dumps(character[0])[1:-1]


def _pretty(state: Any) -> list[str]:
    return json.dumps(state, indent=1, ensure_ascii=False).splitlines()


def _shown(text: str) -> str:
    """Return the text without control characters."""
    from coatcheck.cli.doctor.words import printable  # noqa: PLC0415 - slow to load

    return printable(text)
