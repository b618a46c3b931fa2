"""A Lambda function in a process of its own: an invocation a line, its answer a line. Not a test itself.

``python -m tests.integrations.aws_durable.function_process FOLDER``, with ``STORE`` in the environment: the address of an S3 server
and the name of a bucket, or nothing for files below the folder.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aws_durable_execution_sdk_python import DurableContext
from aws_durable_execution_sdk_python.config import Duration

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, S3Store, Store, Zstd
from coatcheck.integrations.aws_durable import ClaimCheck
from tests.chains import KEY
from tests.stores.s3_fixtures import session_of

FOLDER = Path(sys.argv[1])
SIZE = 9_000


def said(number: int) -> str:
    return random.Random(number).randbytes(SIZE // 2).hex()


def expected(turns: int) -> list[str]:
    return [said(number) for number in range(turns)]


def store() -> Store:
    if not (where := os.environ.get("STORE")):
        return FileStore(FOLDER / "payloads")
    endpoint, bucket, access_key, secret_key = where.split()
    return S3Store(bucket, session=session_of(access_key, secret_key), endpoint_url=endpoint)


def chain() -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store()))


def agent(event: dict[str, Any], context: DurableContext) -> list[str]:
    """Say one thing after the other; killed once where the event says so."""
    talk: list[str] = []
    for number in range(event["turns"]):

        def say(_: object, number: int = number, talk: list[str] = talk) -> list[str]:
            if number == event.get("killed in") and not (FOLDER / "killed").exists():
                (FOLDER / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (FOLDER / "done").open("a") as done:
                done.write(f"{number}\n")
            return [*talk, said(number)]

        talk = context.step(say, name="say")
        if number in event.get("waits after", ()):
            context.wait(Duration.from_seconds(1))
    return talk


def main() -> None:
    handler = ClaimCheck(chain()).durable_execution(agent)
    for line in sys.stdin:
        call = json.loads(line)
        end = time.monotonic() + 900
        context = SimpleNamespace(
            aws_request_id="1",
            tenant_id=None,
            get_remaining_time_in_millis=lambda end=end: int(1000 * (end - time.monotonic())),
        )
        try:
            answer = {"result": handler(call, context)}
        except Exception as error:  # noqa: BLE001 - as the runtime of Lambda
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
