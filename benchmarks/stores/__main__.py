"""Speed and processor time of S3Store and GCSStore, compared with other clients.

``python -m benchmarks.stores [--json [PATH]] [--quick]``. Clients create objects and read them back, on one real S3 server
on this machine (SeaweedFS, as in the tests), and on one of Google Cloud Storage (fake-gcs-server): our store, the
service's own client in threads (boto3, google-cloud-storage) and an asyncio client (aioboto3, gcloud-aio-storage). All send
the same requests, with ``If-None-Match: *`` or ``ifGenerationMatch=0`` in each put. Each runs in its own process, to separate
CPU seconds, and they take turns: a round is the puts of one client after the other, then the gets; the next round starts
with another client. ``gets_vs_aioboto3`` is the ratio of S3Store's gets per second to aioboto3's, the median of the
rounds; ``gets_vs_google-cloud-storage`` is the same for GCSStore.

aioboto3 and gcloud-aio-storage are installed into their own environments below ``.cache``. To share one with coatcheck,
aioboto3 would need the old boto3 that its aiobotocore is pinned to (15.5.0: boto3 1.40.61), which is not the boto3 that users
of S3Store and plain boto3 have.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import httpx

from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, median_ratio, note, values
from benchmarks.stores.clients import CLIENTS
from tests.engines import gcs, seaweed

OURS = "coatcheck"
RIVALS = {"S3": "aioboto3", "GCS": "google-cloud-storage"}
"""The client that ours is compared with, by service."""
ROWS = {"S3": "", "GCS": "GCS "}
"""The start of the rows of a service."""
APART = {"aioboto3", "gcloud-aio-storage"}
"""Clients in their own environment."""
SIZES = {"10 KB": 10_000, "100 KB": 100_000, "1 MB": 1_000_000}
AT_ONCE = (1, 16, 64)
ROUNDS = 6
MOST_OBJECTS = 512
BYTES_A_TURN = 64_000_000
BUCKET = "benchmark"
ENVIRONMENTS = Path(__file__).parents[2] / ".cache"


class Contender:
    """A client in its own process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def do(self, task: str, keys: list[str], size: int, at_once: int) -> tuple[float, float]:
        """Do a task; return its seconds and its CPU seconds.

        Args:
            task: ``put`` or ``get``.
            keys: Keys of the objects.
            size: Bytes of each object.
            at_once: Concurrent requests.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"do": task, "keys": keys, "size": size, "at_once": at_once})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a client ended before its task was done")
        took = json.loads(answer)
        return took["seconds"], took["cpu"]


class Turns:
    """The rounds of all contenders with one object size and one number of concurrent requests."""

    def __init__(
        self,
        where: str,
        rival: str,
        contenders: dict[str, Contender],
        size: int,
        at_once: int,
        *,
        quick: bool,
    ) -> None:
        self.where = where
        self.rival = rival
        self.contenders = contenders
        self.size = size
        self.at_once = at_once
        self.rounds = 1 if quick else ROUNDS
        count = min(MOST_OBJECTS, BYTES_A_TURN // size) // (4 if quick else 1)
        self.count = max(2, count // 4) if at_once == 1 else max(at_once, count)

    def records(self) -> Iterator[Record]:
        """Measure, and yield the figures."""
        took: dict[tuple[str, str], list[tuple[float, float]]] = {}
        order = list(self.contenders)
        for number in range(self.rounds):
            for task in ("put", "get"):
                for case in order:
                    keys = [f"{case}/{self.size}/{self.at_once}/{number}/{n}" for n in range(self.count)]
                    measured = self.contenders[case].do(task, keys, self.size, self.at_once)
                    took.setdefault((case, task), []).append(measured)
            # The writes of one client still keep the disk busy when the next one starts.
            order.append(order.pop(0))
        for (case, task), turns in took.items():
            per_second = statistics.median(self.count / seconds for seconds, _ in turns)
            cpu = statistics.median(cpu * 1000 / self.count for _, cpu in turns)
            yield Record(f"{self.where} {case}", f"{task}_per_second", per_second, "objects/s")
            yield Record(f"{self.where} {case}", f"cpu_seconds_per_1000_{task}s", cpu, "s")
        rival, ours = ([seconds for seconds, _ in took[case, "get"]] for case in (self.rival, OURS))
        yield Record(f"{self.where} {OURS}", f"gets_vs_{self.rival}", median_ratio(rival, ours), "times")


@contextmanager
def contenders_on(service: str, *server: str) -> Iterator[dict[str, Contender]]:
    """Start and warm up every client of a service."""
    program = str(Path(__file__).with_name("clients.py"))
    with ExitStack() as stack:
        contenders = {}
        for case in CLIENTS[service]:
            python = str(python_with(case)) if case in APART else sys.executable
            process = stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own program
                    [python, program, service, case, *server],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            contenders[case] = Contender(process)
            keys = [f"{case}/warm/{n}" for n in range(max(AT_ONCE))]
            for task in ("put", "get"):
                contenders[case].do(task, keys, 1_000, len(keys))
        yield contenders


def python_with(client: str) -> Path:
    """Return the interpreter of the client's own environment; create the environment if it is missing."""
    environment = ENVIRONMENTS / client
    python = environment / "bin" / "python"
    ready = environment / "ready"
    if not ready.exists():
        print(f"installing {client} into {environment}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(environment)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", client],
        ):
            subprocess.run(command, check=True)  # noqa: S603 - our own
        ready.touch()
    return python


@contextmanager
def s3_bucket(folder: Path) -> Iterator[tuple[str, ...]]:
    """Serve S3; yield the arguments for its clients."""
    with seaweed.serving(folder) as server:
        session = boto3.Session(server.access_key, server.secret_key, region_name="us-east-1")
        session.client("s3", endpoint_url=server.endpoint).create_bucket(Bucket=BUCKET)
        yield server.endpoint, BUCKET, server.access_key, server.secret_key


@contextmanager
def gcs_bucket(folder: Path) -> Iterator[tuple[str, ...]]:
    """Serve Google Cloud Storage's API; yield the arguments for its clients."""
    with gcs.serving(folder) as server:
        httpx.post(f"{server.endpoint}/storage/v1/b", json={"name": BUCKET}).raise_for_status()
        yield server.endpoint, BUCKET


def measure(service: str, *, quick: bool) -> Iterator[Record]:
    """Measure every size with every number of concurrent requests."""
    serving = {"S3": s3_bucket, "GCS": gcs_bucket}[service]
    for (name, size), at_once in itertools.product(SIZES.items(), AT_ONCE):
        where = f"{ROWS[service]}{name}, {at_once} at once"
        note(where)
        # A new server each time: fake-gcs-server keeps everything in memory, and slows down as it grows.
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(Path(folder)) as server,
            contenders_on(service, *server) as contenders,
        ):
            yield from Turns(where, RIVALS[service], contenders, size, at_once, quick=quick).records()


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse ``--json`` and ``--quick``."""
    parser.add_argument("--quick", action="store_true", help="only one short round, as a test")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    options = options_of(arguments(__doc__))
    with on_real_servers():
        records = [record for service in CLIENTS for record in measure(service, quick=options.quick)]
    show(records, options, targets.stores(values(records)))


if __name__ == "__main__":
    main()
