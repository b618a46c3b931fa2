"""Lambda as far as one function is concerned, in front of the SDK's local runner.

The runner's Invoke comes in over HTTP; the function is a process that is frozen between two invocations, as Lambda does it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_durable_execution_sdk_python_testing.executor import Executor
from aws_durable_execution_sdk_python_testing.runner import WebRunner, WebRunnerConfig
from aws_durable_execution_sdk_python_testing.web.server import WebServiceConfig

from tests.engines.process import free_port

REGION = "us-west-2"
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:agent"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}


@dataclass
class Host:
    """One function and its environment.

    Args:
        folder: For all that the function writes.
        endpoint: Where the function finds the runner.
        variables: Of its environment.
    """

    folder: Path
    endpoint: str
    variables: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    freezes: int = 0
    process: subprocess.Popen[str] | None = None

    def invoke(self, event: bytes) -> tuple[bytes, bool]:
        """Return the answer of an invocation, and whether it is an error."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(event.decode().replace("\n", " ") + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            return b'{"errorType": "Runtime.ExitError", "errorMessage": "Runtime exited"}', True
        self.process.send_signal(signal.SIGSTOP)
        self.freezes += 1
        answer = json.loads(line)
        if "error" in answer:
            return json.dumps({"errorMessage": answer["error"]}).encode(), True
        return json.dumps(answer["result"]).encode(), False

    def _start(self) -> None:
        self.end()
        self.starts += 1
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integrations.aws_durable.function_process", str(self.folder)],
            env={**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL_LAMBDA": self.endpoint, **self.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@dataclass
class Lambda:
    """The host, and a client of the local runner."""

    host: Host
    client: Any
    runner: WebRunner

    def started(self, event: str) -> str:
        """Start an execution, and return its ARN."""
        body = {
            "AccountId": "123456789012",
            "FunctionName": "agent",
            "FunctionQualifier": "$LATEST",
            "ExecutionName": "run",
            "ExecutionTimeoutSeconds": 300,
            "ExecutionRetentionPeriodDays": 7,
            "Input": event,
        }
        from aws_durable_execution_sdk_python_testing.model import (  # noqa: PLC0415
            StartDurableExecutionInput,
        )

        assert self.runner._executor is not None
        arn = self.runner._executor.start_execution(StartDurableExecutionInput.from_dict(body)).execution_arn
        assert arn is not None
        return arn

    def result(self, arn: str) -> str:
        """Wait for the end of an execution, and return its result."""
        assert self.runner._executor is not None
        assert self.runner._executor.wait_until_complete(arn, 120)
        shown = self.client.get_durable_execution(DurableExecutionArn=arn)
        assert shown["Status"] == "SUCCEEDED", shown
        text: str = shown["Result"]
        return text


@contextmanager
def lambda_host(folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[Lambda]:
    """Run the local runner and a function behind it, in the block."""
    monkeypatch.setattr(Executor, "RETRY_BACKOFF_SECONDS", 0)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    ports = free_port(), free_port()
    endpoint = f"http://127.0.0.1:{ports[0]}"
    host = Host(folder, endpoint, variables)
    server = ThreadingHTTPServer(("127.0.0.1", ports[1]), _handler(host))
    config = WebRunnerConfig(
        WebServiceConfig("127.0.0.1", ports[0]),
        lambda_endpoint=f"http://127.0.0.1:{ports[1]}",
        local_runner_endpoint=endpoint,
        skip_time=True,
    )
    runner = WebRunner(config)
    runner.start()
    threads = [
        threading.Thread(target=serve, daemon=True) for serve in (server.serve_forever, runner.serve_forever)
    ]
    for thread in threads:
        thread.start()
    try:
        yield Lambda(host, boto3.client("lambda", endpoint_url=endpoint), runner)
    finally:
        scheduler, web = runner._scheduler, runner._server
        assert web is not None
        web.shutdown()
        runner.stop()
        server.shutdown()
        server.server_close()
        host.end()
        for thread in threads:
            thread.join()
        if scheduler is not None:
            scheduler._loop.close()


def _handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Invoke(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body, failed = host.invoke(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            if failed:
                self.send_header("X-Amz-Function-Error", "Unhandled")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    return Invoke
