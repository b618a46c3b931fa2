# ruff: noqa: T201 - an example prints
"""An agent on AWS Durable Execution whose checkpoints hold references only; it is killed, and goes on where it was.

    pip install 'coatcheck[aws-durable]' aws-durable-execution-sdk-python-testing
    python examples/aws_durable_agent.py

The SDK's local runner stands in for the service. As on Lambda, each invocation has a process of its own, a cold start, and the
one that thinks of turn 7 is killed. Only the line with ``durable_execution`` differs from a plain function.
"""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from aws_durable_execution_sdk_python import DurableContext
from aws_durable_execution_sdk_python.config import Duration
from aws_durable_execution_sdk_python_testing.runner import WebRunner, WebRunnerConfig
from aws_durable_execution_sdk_python_testing.web.server import WebServer, WebServiceConfig

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.aws_durable import ClaimCheck

TURNS, KILLED_IN = 12, 7
FOLDER = Path(os.environ.get("AGENT_FOLDER") or tempfile.mkdtemp(prefix="coatcheck-aws-durable-"))
CHAIN = Chain(Zstd(), Encrypt(Keyring(Key(bytes(range(32))))), Offload(FileStore(FOLDER / "payloads")))
"""For the example; yours comes from `Chain.from_settings()`."""
CLAIMS = ClaimCheck(CHAIN)


def think(conversation: list[str]) -> str:
    """Stands in for a model: an answer of about 24 KB that depends on all that was said."""
    turn = len(conversation)
    if turn == KILLED_IN and not (FOLDER / "killed").exists():
        (FOLDER / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with (FOLDER / "thoughts").open("a") as thoughts:
        thoughts.write(f"{turn}\n")
    seen = hashlib.sha256("".join(conversation).encode())
    return " ".join(hashlib.sha256(seen.digest() + n.to_bytes(2)).hexdigest() for n in range(370))


@CLAIMS.durable_execution
def agent(event: dict[str, str], context: DurableContext) -> list[str]:
    """One question, some turns, and a pause in which nothing runs."""
    conversation = [event["question"]]
    for turn in range(1, TURNS + 1):

        def step(_: object, so_far: list[str] = conversation) -> list[str]:
            return [*so_far, think(so_far)]

        conversation = context.step(step, name="think")
        if turn == TURNS // 3:
            context.wait(Duration.from_seconds(1))
    return conversation


class Context:
    """The context that Lambda hands to a function."""

    aws_request_id = "local"
    tenant_id = None

    def get_remaining_time_in_millis(self) -> int:
        """15 minutes."""
        return 900_000


class Invoke(BaseHTTPRequestHandler):
    """Lambda, as far as this function is concerned: a process for each invocation."""

    def do_POST(self) -> None:
        """Invoke the function."""
        event = self.rfile.read(int(self.headers["Content-Length"]))
        command = [sys.executable, __file__, "invocation"]
        done = subprocess.run(command, input=event, capture_output=True, check=False)  # noqa: S603 - this file
        if done.returncode < 0:
            print(f"an invocation was killed by signal {-done.returncode}")
        self.send_response(200)
        if done.returncode:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        body = done.stdout or b'{"errorMessage": "the process is gone"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def serving(server: Any) -> int:
    """Serve in a thread, and return the port."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port: int = server.server_address[1]
    return port


def main() -> None:
    """Run the agent, and look at what the service keeps."""
    logging.disable(logging.ERROR)  # the runner says a line for each request
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "local"
    os.environ |= {"AWS_DEFAULT_REGION": "us-west-2", "AGENT_FOLDER": str(FOLDER)}
    host = f"http://127.0.0.1:{serving(ThreadingHTTPServer(('127.0.0.1', 0), Invoke))}"
    runner = WebRunner(
        WebRunnerConfig(WebServiceConfig("127.0.0.1", 0), lambda_endpoint=host, skip_time=True)
    )
    runner.start()
    server: WebServer | None = runner._server  # noqa: SLF001 - to learn its port
    endpoint = f"http://127.0.0.1:{serving(server)}"
    os.environ["AWS_ENDPOINT_URL_LAMBDA"] = endpoint
    started = boto3.session.Session().client("lambda")
    arn = start(endpoint, CLAIMS.dump({"question": "Where is my refund?"}))
    while (shown := started.get_durable_execution(DurableExecutionArn=arn))["Status"] == "RUNNING":
        threading.Event().wait(0.2)
    conversation = CLAIMS.load(shown["Result"])
    history = started.get_durable_execution_history(DurableExecutionArn=arn, IncludeExecutionData=True)
    kept = sum(
        len(event["StepSucceededDetails"]["Result"]["Payload"])
        for event in history["Events"]
        if event["EventType"] == "StepSucceeded"
    )
    thoughts = (FOLDER / "thoughts").read_text().split()
    print(f"the conversation has {sum(map(len, conversation)):,} characters")
    print(f"{len(thoughts)} thoughts were had for {len(conversation) - 1} turns")
    print(f"the results of all steps take {kept:,} bytes in checkpoints")


def start(endpoint: str, event: str) -> str:
    """Start an execution at the local runner."""
    asked = {
        "AccountId": "123456789012",
        "FunctionName": "agent",
        "FunctionQualifier": "$LATEST",
        "ExecutionName": "customer-7",
        "ExecutionTimeoutSeconds": 600,
        "ExecutionRetentionPeriodDays": 7,
        "Input": event,
    }
    request = urllib.request.Request(  # noqa: S310 - it is ours
        f"{endpoint}/start-durable-execution",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - it is ours
        arn: str = json.load(answer)["ExecutionArn"]
    return arn


if __name__ == "__main__":
    if sys.argv[1:] == ["invocation"]:
        json.dump(agent(json.load(sys.stdin), Context()), sys.stdout)
    else:
        main()
