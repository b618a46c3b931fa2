"""AWS's conformance suite for SDKs of Durable Execution, on the local runner, with our hook in each of its functions. Not a test itself.

``python -m tests.integrations.aws_durable.conformance SUITE HANDLERS [--plain] [ID ...]``. SUITE is the unpacked wheel of
``aws-durable-execution-conformance-tests`` (PyPI, for Python 3.14): what is expected of each function, and what compares histories. HANDLERS
is the folder ``packages/aws-durable-execution-sdk-python-conformance-tests`` of the SDK's repository: the functions. With ``--plain`` they have
the SDK's own decorator: what fails then is the local runner's.
"""

import argparse
import importlib
import inspect
import json
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aws_durable_execution_sdk_python as sdk
import boto3
import yaml  # type: ignore[import-untyped] # it has no stubs here
from aws_durable_execution_sdk_python import execution as sdk_execution
from aws_durable_execution_sdk_python_testing.child_dispatcher import FunctionConfigs
from aws_durable_execution_sdk_python_testing.model import StartDurableExecutionInput
from aws_durable_execution_sdk_python_testing.runner import WebRunner, WebRunnerConfig
from aws_durable_execution_sdk_python_testing.web.server import WebServiceConfig
from botocore.config import Config

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, Scope, Zstd
from coatcheck.format.shown import MARKER
from coatcheck.integrations.aws_durable import ClaimCheck
from coatcheck.integrations.aws_durable.form import read
from tests.chains import KEY
from tests.engines.process import free_port
from tests.integrations.aws_durable.lambda_host import CREDENTIALS

CHAIN = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(MemoryStore()))
SUITES = (
    "step",
    "wait",
    "child",
    "callback",
    "invoke",
    "wait_for_condition",
    "wait_for_callback",
    "parallel",
    "map",
)
WORKERS = 8


class Opened:
    """A client that shows what was sealed, as the suite expects it to be shown."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.sealed = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return (lambda **asked: self._open(call(**asked))) if name.startswith("get_durable") else call

    def _open(self, value: Any) -> Any:
        if isinstance(value, dict):
            opened = {name: self._open(inner) for name, inner in value.items()}
            if "EventType" in value:  # the local runner leaves out details that are empty
                opened.setdefault(f"{value['EventType']}Details", {})
            return opened
        if isinstance(value, list):
            return [self._open(inner) for inner in value]
        if isinstance(value, str) and MARKER in value[:64] and isinstance(found := read(value), bytes):
            self.sealed += 1
            return CHAIN.sync.decode(found, Scope("default")).decode()
        return value


def referred_to(value: Any) -> str:
    """Return the name of the function in a template's variable, however it is referred to."""
    while isinstance(value, dict):
        (value,) = value.values()
    if isinstance(value, list):
        value = value[0]
    return str(value).removeprefix("${").partition("}")[0].removesuffix(".Arn").partition(".")[0]


class Functions:
    """The functions of the suite's templates, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handlers: dict[str, Any] = {}
        self.ids: dict[str, str] = {}
        self.durable: dict[str, bool] = {}
        self.modules: dict[str, str] = {}

    def load(self, validate: Any) -> None:
        """Import all."""
        for suite in SUITES:
            template = self.folder / f"template_{suite}.yaml"
            loader = validate._CfnSafeLoader
            resources = yaml.load(template.read_text(), loader)["Resources"]  # noqa: S506 - a safe one
            for name, resource in resources.items():
                properties = resource.get("Properties", {})
                if "Handler" not in properties:
                    continue
                module, _, attribute = properties["Handler"].rpartition(".")
                loaded = importlib.import_module(
                    f"handlers.{module}".replace("handlers.handlers", "handlers")
                )
                self.handlers[name] = getattr(loaded, attribute)
                self.modules[name] = loaded.__name__
                variables = properties.get("Environment", {}).get("Variables")
                if variables:  # those of this function: each has a module of its own that looks at them
                    told = {key: referred_to(value) for key, value in variables.items()}
                    loaded.os = SimpleNamespace(environ={**os.environ, **told})  # type: ignore[attr-defined]
                self.durable[name] = "DurableConfig" in properties
            for name, number in validate.parse_function_descriptions(str(template)):
                self.ids[number] = name


def endpoint_of(functions: Functions) -> type[BaseHTTPRequestHandler]:
    """Return Lambda, as far as these functions are concerned."""

    class Invoke(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            name = self.path.split("/functions/")[1].split("/")[0]
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            end = time.monotonic() + 900
            context = SimpleNamespace(
                aws_request_id="1",
                tenant_id=self.headers.get("X-Amz-Tenant-Id"),
                function_name=name,
                get_remaining_time_in_millis=lambda: int(1000 * (end - time.monotonic())),
            )
            failed = False
            try:
                answer = functions.handlers[name.split("%3A")[0]](event, context)
            except Exception as error:  # noqa: BLE001 - as the runtime of Lambda
                failed, answer = True, {"errorMessage": str(error), "errorType": type(error).__name__}
            body = json.dumps(answer).encode()
            self.send_response(200)
            if failed:
                self.send_header("X-Amz-Function-Error", "Unhandled")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    return Invoke


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("handlers", type=Path)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("ids", nargs="*")
    options = parser.parse_args()
    sys.path[:0] = [str(options.suite), str(options.handlers)]
    logging.disable(logging.CRITICAL)
    if not options.plain:
        decorator = ClaimCheck(CHAIN).durable_execution
        sdk.durable_execution = sdk_execution.durable_execution = decorator
        # What coatcheck's decorator itself calls is the SDK's.
    ports = free_port(), free_port()
    os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{ports[0]}"}
    functions = Functions(options.handlers)
    validate = importlib.import_module("aws_durable_execution_conformance_tests.validate")
    functions.load(validate)
    host = ThreadingHTTPServer(("127.0.0.1", ports[1]), endpoint_of(functions))
    configs = FunctionConfigs.from_dict(
        {
            name: {"DurableConfig": {"ExecutionTimeout": 300, "RetentionPeriodInDays": 7}} if durable else {}
            for name, durable in functions.durable.items()
        }
    )
    runner = WebRunner(
        WebRunnerConfig(
            WebServiceConfig("127.0.0.1", ports[0]),
            lambda_endpoint=f"http://127.0.0.1:{ports[1]}",
            function_configs=configs,
        )
    )
    runner.start()
    for server in (host, runner):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    client = boto3.client("lambda", config=Config(max_pool_connections=4 * WORKERS))
    opened = Opened(client)

    def check(number: str) -> tuple[str, list[str]]:
        (path,) = (options.suite / "aws_durable_execution_conformance_tests/test_requirements").glob(
            f"*/{number}.yaml"
        )
        asked = yaml.safe_load(path.read_text())
        context = validate.PlaceholderContext()
        context.resolve_variables(asked.get("Variables"))
        started = runner._executor.start_execution(  # type: ignore[union-attr]
            StartDurableExecutionInput.from_dict(
                {
                    "AccountId": "123456789012",
                    "FunctionName": functions.ids[number],
                    "FunctionQualifier": "$LATEST",
                    "ExecutionName": number,
                    "ExecutionTimeoutSeconds": 300,
                    "ExecutionRetentionPeriodDays": 7,
                    "Input": json.dumps(context.substitute(asked.get("Input"))),
                }
            )
        )
        polling = validate.AsyncValidationConfig(poll_interval_seconds=0.3)
        actions = [validate.CallbackAction.from_dict(action) for action in asked.get("CallbackActions") or []]
        result = validate.PollingValidator(opened, polling, context).validate(
            started.execution_arn,
            asked.get("ExpectedExecutionHistory") or [],
            asked.get("ExpectedResult"),
            actions,
        )
        return number, result.errors if not result.passed else []

    # Those that end their process: `test_lambda.py` does that to one.
    mortal = {
        number
        for number, name in functions.ids.items()
        if "os._exit" in inspect.getsource(sys.modules[functions.modules[name]])
    }
    numbers = options.ids or sorted(
        functions.ids.keys() - mortal, key=lambda n: [int(part) for part in n.split("-")]
    )
    passed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in as_completed([pool.submit(check, number) for number in numbers]):
            number, errors = done.result()
            passed += not errors
            sys.stderr.write(f"{number} {'passed' if not errors else f'FAILED {errors[0][:200]}'}\n")
    sys.stderr.write(f"not run, since they end their process: {', '.join(sorted(mortal))}\n")
    sys.stderr.write(f"{passed} of {len(numbers)} passed; {opened.sealed} values in histories were sealed\n")
    os._exit(0)


if __name__ == "__main__":
    main()
