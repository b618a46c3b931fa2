"""Cost of importing coatcheck, and of a client for each store, compared with the usual alternatives.

``python -m benchmarks.import_time [--rounds N] [--json [PATH]]``. Each import runs in its own process, with compiled modules
in the file system's cache; the peers take turns. ``import_seconds`` is the time of the statement alone, ``cpu_seconds``
its processor time, ``memory_bytes`` the growth of the process (resident). Clients are created, not connected.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.engines import sdk_storage
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, medians, values

_SECONDS = 60.0
_MEASURE = """
import json, sys, time

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

before, start, cpu = resident(), time.perf_counter(), time.process_time()
exec(sys.argv[1])
took = {"import_seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
print(json.dumps({**took, "memory_bytes": resident() - before}))
"""
_BOTO3 = 'import boto3; session = boto3.Session("key", "secret", region_name="us-east-1"); '
_GOOGLE = "from google.auth.credentials import AnonymousCredentials as Anonymous; "


class Subject(NamedTuple):
    """The imports for one purpose, with coatcheck and with its peer."""

    name: str
    ours: str
    peer: str
    driver: bool = False
    """True if the peer needs the SDK's S3 driver."""


SUBJECTS = (
    Subject(
        "core",
        "from coatcheck import Chain, Zstd, Encrypt, Offload, Keyring, FileStore",
        "import temporalio.client",
    ),
    Subject(
        "Temporal worker",
        "import temporalio.client, temporalio.worker; from coatcheck.integrations.temporal import ClaimCheckPlugin",
        "import temporalio.client, temporalio.worker",
    ),
    Subject(
        "Temporal worker with S3",
        f"import temporalio.client, temporalio.worker; {_BOTO3}"
        "from coatcheck.integrations.temporal import ClaimCheckPlugin; from coatcheck import S3Store; "
        'S3Store("bucket", session=session)',
        "import temporalio.client, temporalio.worker, aioboto3, temporalio.contrib.aws.s3driver; "
        "from temporalio.contrib.aws.s3driver.aioboto3 import new_aioboto3_client; "
        'aioboto3.Session("key", "secret", region_name="us-east-1")',
        driver=True,
    ),
    Subject(
        "S3 client",
        f'{_BOTO3}from coatcheck import S3Store; S3Store("bucket", session=session)',
        f'{_BOTO3}session.client("s3")',
    ),
    Subject(
        "GCS client",
        f'{_GOOGLE}from coatcheck import GCSStore; GCSStore("bucket", project="project", credentials=Anonymous())',
        f'{_GOOGLE}from google.cloud.storage import Client; Client("project", credentials=Anonymous())',
    ),
    Subject(
        "PostgreSQL client",
        'from coatcheck import PostgresStore; PostgresStore("postgresql://127.0.0.1/none")',
        "import psycopg",
    ),
)


def measure(subject: Subject) -> list[Record]:
    """Measure coatcheck and its peer once."""
    records = (
        _measured("import coatcheck coatcheck", "import coatcheck", {}) if subject is SUBJECTS[0] else []
    )
    records += _measured(f"{subject.name} coatcheck", subject.ours, {})
    driver = sdk_storage.environment() if subject.driver else {}
    return records + _measured(f"{subject.name} peer", subject.peer, driver)


def _measured(case: str, statement: str, environment: Mapping[str, str]) -> list[Record]:
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", _MEASURE, statement],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        timeout=_SECONDS,
    )
    took = json.loads(done.stdout)
    return [
        Record(case, "import_seconds", took["import_seconds"], "s"),
        Record(case, "cpu_seconds", took["cpu_seconds"], "s"),
        Record(case, "memory_bytes", took["memory_bytes"], "bytes"),
    ]


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; medians are shown (5)")
    options = parser.parse_args()
    for subject in SUBJECTS:
        measure(subject)  # so that everything is in the file system's cache
    records = medians(
        record for _ in range(options.rounds) for subject in SUBJECTS for record in measure(subject)
    )
    show(records, options, targets.import_time(values(records)))


if __name__ == "__main__":
    main()
