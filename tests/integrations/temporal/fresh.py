"""Processes that have done nothing yet, with the releases of packages that are asked for."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import IO, Any

from tests.engines.requirement import unavailable
from tests.environments import ROOT, uv

OLDEST_CRYPTOGRAPHY = "cryptography==44.0.0"
"""The oldest that pyproject.toml admits."""
_CACHE = ROOT / ".cache" / "packages"
_SECONDS = 120.0


@dataclass(frozen=True)
class Fresh:
    """Starts processes with other releases of some packages than this one's."""

    packages: tuple[str, ...] = ()
    folder: Path = ROOT
    """Where they work."""

    async def run(self, program: str, *arguments: str) -> Any:
        """Run a module or a script to its end, and return what it wrote, read as JSON."""
        with TemporaryFile() as log:
            async with asyncio.timeout(_SECONDS):
                process = await self._start(log, program, *arguments)
                said, _ = await process.communicate()
            # Not how it ended: the SDK's own threads now and then crash a process on its last way out.
            assert said, _text(log)
        return json.loads(said.splitlines()[-1])

    @asynccontextmanager
    async def running(self, program: str, *arguments: str) -> AsyncIterator[None]:
        """Run a module or a script from when it says its first line; at the end its input ends, and it is waited for."""
        with TemporaryFile() as log:
            process = await self._start(log, program, *arguments)
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                async with asyncio.timeout(_SECONDS):
                    assert await process.stdout.readline(), _text(log)
                    yield
                    process.stdin.close()
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _start(self, log: IO[bytes], program: str, *arguments: str) -> asyncio.subprocess.Process:
        path = os.pathsep.join(
            [
                *(str(_folder_of(package)) for package in self.packages),
                os.environ.get("PYTHONPATH", ""),
                str(ROOT),
            ]
        )
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *([program] if program.endswith(".py") else ["-m", program]),
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=log,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
        )


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode()


def _folder_of(package: str) -> Path:
    """A folder with the package alone, of the release that is named. What it needs is in the environment."""
    folder = _CACHE / f"{package.replace('==', '-')}-py{sys.version_info[0]}.{sys.version_info[1]}"
    if not folder.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        new = Path(mkdtemp(dir=_CACHE))
        try:
            uv(
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--python",
                sys.executable,
                "--target",
                str(new),
                package,
            )
        except (OSError, ValueError) as error:
            unavailable(package, str(error))
        try:
            new.rename(folder)
        except OSError:
            assert folder.exists()
    return folder
