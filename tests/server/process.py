"""``coatcheck serve`` in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.chains import KEY
from tests.server.serving import Serving

SERVE = [sys.executable, "-c", "from coatcheck.cli import main; main()", "serve"]
SECONDS = 60


def variables(folder: Path) -> dict[str, str]:
    """Variables of a chain that encrypts, with a store of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    chain = {"COATCHECK_KEYS": KEY.to_text(), "COATCHECK_OFFLOAD__STORE": f"file://{folder}/payloads"}
    return {**inherited, **chain}


class Started:
    """A server, as it looks from outside.

    Args:
        process: The server's.
        said: The lines that it printed until it listened.
        url: Where it listens.
    """

    def __init__(self, process: subprocess.Popen[str], said: list[str], url: str) -> None:
        self.process = process
        self.said = said
        self.server = Serving(url)

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit code, what else it printed, and its log."""
        self.process.send_signal(number)
        printed, log = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, printed, log

    def peak_memory(self) -> int:
        """Bytes of memory that it has had at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def open_sockets(self) -> int:
        """Sockets that it has open: its connections, and a few of its own."""
        return sum(_is_socket(link) for link in Path(f"/proc/{self.process.pid}/fd").iterdir())


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except FileNotFoundError:
        return False


@contextmanager
def started(environment: Mapping[str, str], folder: Path, *arguments: str) -> Iterator[Started]:
    """Run the server until the block ends."""
    pipe = subprocess.PIPE
    command = [*SERVE, "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line.strip())
                before, _, url = said[-1].partition("listening on ")
                if url:
                    assert before == "coatcheck serve: "
                    yield Started(process, said[:-1], url)
                    return
            raise AssertionError(said)
        finally:
            process.kill()
