"""Every block of code in README.md, CONTRIBUTING.md and docs/ does what it says: one test for each page, its blocks in their order.

- ``python`` is executed, ``await`` and all, in one namespace for each page. Real servers stand behind the addresses, and
  a real S3 server behind Amazon's. With a ``title`` it is written to a file of that name instead, for later blocks.
- ``console``: what follows ``$`` is run by bash, but for `NOT_RUN`, whose commands, options, extras and targets are only
  looked up.
- ``toml`` is loaded as settings; entry points are loaded as such.
- ``text`` is nobody's to run.
- Whatever stands between backticks in a sentence and begins with ``coatcheck``: its command and options are looked up.
"""

import ast
import asyncio
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from inspect import isawaitable
from pathlib import Path

import pytest

from coatcheck import Settings
from tests.chains import KEY
from tests.docs.blocks import PAGES, ROOT, Block, blocks, commands, spans
from tests.docs.commands import PLACEHOLDER, check, check_span
from tests.docs.surroundings import TEMPORAL, Names, Place, surroundings
from tests.integrations.restate.conftest import restate_server

__all__ = ["restate_server"]

NOT_RUN = {
    r"pip install": "the environment is not for a page to change",
    r"make ": "CI runs the targets",
    r"coatcheck serve": "runs until it is stopped: tests/server/",
    r"coatcheck sweep": "asks a server, or needs a list: tests/cli/test_sweep_*.py",
    r"temporal server": "runs until it is stopped",
    r"temporal workflow show .*--codec-endpoint": "tests/server/test_temporal_tools.py",
    PLACEHOLDER.pattern: "the reader has to fill something in",
}
INCLUDED = re.compile(r'{% include "\.\./(examples/\w+\.py)" %}\s*')
"""A whole example, which has a test of its own."""
SECONDS = 300.0
"""For the commands of one block."""


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COATCHECK_KEYS", KEY.to_text())
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    before = set(sys.modules)
    yield Place(request, tmp_path, monkeypatch)
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_blocks_of(page: Path, place: Place) -> None:
    found = blocks(page)
    text = "".join(block.source for block in found)
    if TEMPORAL in text or page.name == "doctor.md":
        place.monkeypatch.setenv("TEMPORAL_ADDRESS", place.temporal.address)
    if not found:
        return
    async with surroundings(page.name, place) as names:
        names["__name__"] = "documented"
        for block in found:
            await run(block, page, names, place)


async def run(block: Block, page: Path, names: Names, place: Place) -> None:
    source = block.source.replace("/tmp/payloads", str(place.folder / "payloads"))  # noqa: S108 - a page's
    if TEMPORAL in source:
        source = source.replace(TEMPORAL, place.temporal.address)
    where = f"{page.relative_to(ROOT)}:{block.line}"
    match block.language:
        case "python" if block.title:
            write(block.title, source, place)
        case "python":
            await execute("\n" * (block.line - 1) + source, page, names)
        case "console":
            await run_by_bash(source, where)
        case "toml":
            load(source, place)
        case other:
            assert other == "text", f"{where}: nobody runs blocks of {other!r}"


def write(title: str, source: str, place: Place) -> None:
    included = INCLUDED.fullmatch(source)
    if included:
        assert (ROOT / included[1]).is_file(), title
    else:
        (place.folder / title).write_text(source)


async def execute(source: str, page: Path, names: Names) -> None:
    code = compile(source, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)  # noqa: S307 - the documentation
    if isawaitable(result):
        await result


async def run_by_bash(source: str, where: str) -> None:
    to_run = []
    for command in commands(source):
        check(command)
        if not any(re.search(pattern, command) for pattern in NOT_RUN):
            to_run.append(command)
    bash = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", "\n".join(to_run)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(bash.communicate(), SECONDS)
    finally:
        if bash.returncode is None:
            bash.kill()
            await bash.wait()
    assert bash.returncode == 0, f"{where}\n{textwrap.indent(said.decode(errors='replace'), '  ')}"


def load(source: str, place: Place) -> None:
    said = tomllib.loads(source)
    if "project" in said:
        place.monkeypatch.syspath_prepend(str(ROOT / "tests" / "third_party" / "attic"))
        for group, entries in said["project"]["entry-points"].items():
            for name, value in entries.items():
                assert callable(EntryPoint(name, value, group).load())
        return
    file = place.folder / "documented.toml"
    file.write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COATCHECK_CONFIG", str(file))
        Settings.load()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_in_the_sentences_of(page: Path) -> None:
    for span in spans(page):
        check_span(span)
