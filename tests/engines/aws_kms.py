"""A server of AWS KMS's API on loopback: moto, which encrypts with AES-GCM and binds the encryption context."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from typing import Final

import boto3
import pytest
from mypy_boto3_kms import KMSClient

from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable

REGION: Final = "eu-central-1"


@dataclass(frozen=True, slots=True)
class AwsKmsServer:
    """Where the server listens. It takes any credentials."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> KMSClient:
        """What does not go through coatcheck."""
        return session().client("kms", endpoint_url=self.endpoint)

    def new_key(self, *, region: str = REGION) -> str:
        """Return the ARN of a new key."""
        client = session().client("kms", endpoint_url=self.endpoint, region_name=region)
        return client.create_key()["KeyMetadata"].get("Arn", "")


@cache
def session() -> boto3.Session:
    return boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name=REGION)  # noqa: S106 - taken as they are


@pytest.fixture(scope="session")
def aws_kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsKmsServer]:
    server = AwsKmsServer(free_port())
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server.port)]
    log = tmp_path_factory.mktemp("moto") / "moto.log"
    try:
        with running(command, log, up=lambda: _answers(server.port)):
            yield server
    except NotUpError as error:
        unavailable("AWS KMS (moto)", f"it does not come up: {error}")


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/moto-api/data.json")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
