"""The key services of these tests: AWS KMS by moto, Google Cloud KMS by our own responder, Vault by OpenBao."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from coatcheck.keys.aws import AwsKms
from coatcheck.keys.google import GoogleKms
from coatcheck.keys.kms import KeyService
from tests.engines.aws_kms import AwsKmsServer, session
from tests.engines.google_kms import GoogleKmsServer
from tests.engines.google_kms import google_kms as serving_google_kms
from tests.engines.inngest import inngest_server
from tests.engines.openbao import OpenBao
from tests.engines.restate import restate_server

__all__ = ["inngest_server", "restate_server"]


@pytest.fixture
async def google_kms() -> AsyncIterator[GoogleKmsServer]:
    async with serving_google_kms() as server:
        yield server


@dataclass(frozen=True)
class Kms:
    """A key service of one kind."""

    new_key: Callable[[], str]
    service: Callable[[str], KeyService]
    """For the key of this name; a new client each time."""

    def new(self) -> KeyService:
        return self.service(self.new_key())


def of_aws(server: AwsKmsServer) -> Kms:
    return Kms(server.new_key, lambda arn: AwsKms(arn, session=session(), endpoint_url=server.endpoint))


def of_google(server: GoogleKmsServer) -> Kms:
    return Kms(server.new_key, lambda name: GoogleKms(name, endpoint_url=server.endpoint))


def of_vault(server: OpenBao) -> Kms:
    return Kms(server.new_key, server.service)


@pytest.fixture(params=["aws", "google", "vault"])
def kms(request: pytest.FixtureRequest) -> Kms:
    """Each test runs with all."""
    if request.param == "vault":
        return of_vault(request.getfixturevalue("openbao"))
    if request.param == "aws":
        return of_aws(request.getfixturevalue("aws_kms"))
    return of_google(request.getfixturevalue("google_kms"))
