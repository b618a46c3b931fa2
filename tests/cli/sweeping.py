"""Running ``coatcheck sweep`` on a folder whose objects can be made older."""

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from coatcheck import Chain, Scope
from coatcheck.cli.app import app
from tests.retention.aged_files import age as age_files

ORIGIN = "sweep-origin-"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def figures(self) -> dict[tuple[str, str], Any]:
        """What ``--json`` says: values by case and name."""
        return {(record["case"], record["name"]): record["value"] for record in json.loads(self.out)}

    @property
    def scopes(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {case: value for (case, name), value in self.figures.items() if name == "scopes" and value}


def run(command: str, *arguments: str | Path, given: str | None = None) -> Done:
    done = CliRunner().invoke(app, ["sweep", command, *map(str, arguments)], input=given)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def refusal(command: str, *arguments: str | Path, given: str | None = None, code: int = 1) -> str:
    done = run(command, *arguments, given=given)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert done.err.startswith(f"coatcheck sweep {command}: ")
    return done.err


def keep(run: str | None, tenant: str = "default", *, engine: str) -> None:
    """Store a payload of a run."""

    async def put() -> None:
        async with Chain.from_settings() as chain:
            await chain.put(os.urandom(500), Scope(tenant, run, engine=engine))

    asyncio.run(put())


def objects(folder: Path) -> list[Path]:
    """Without what the store remembers of whom it was swept for."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(ORIGIN)]


def age(folder: Path, days: int = 8, *tenants: str) -> None:
    """Everything there was written that much earlier, and marks in scopes of the tenants say so."""
    age_files(folder, timedelta(days=days), *(tenants or ("default",)))
