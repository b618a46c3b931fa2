"""All key services do what KeyService promises, and say in our terms what went wrong."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from coatcheck import (
    CoatcheckError,
    ConfigError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
)
from coatcheck.keys.aws import AwsKms
from coatcheck.keys.google import GoogleKms
from coatcheck.keys.kms import KeyService
from coatcheck.keys.vault import VaultTransit
from coatcheck.keys.vault_auth import VaultAuth
from coatcheck.testing import KeyServiceSuite
from tests.engines.aws_kms import AwsKmsServer, session
from tests.engines.google_kms import GoogleKmsServer
from tests.engines.openbao import OpenBao
from tests.engines.process import free_port
from tests.engines.responder import responding
from tests.keys.conftest import of_aws, of_google, of_vault

CONTEXT = {"tenant": "00ff", "number": "1"}
SECRET = bytes(range(32))


@asynccontextmanager
async def closing(service: KeyService) -> AsyncIterator[KeyService]:
    try:
        yield service
    finally:
        await service.close()


class TestAwsKms(KeyServiceSuite):
    server: AwsKmsServer

    @pytest.fixture
    async def service(self, aws_kms: AwsKmsServer) -> AsyncIterator[KeyService]:
        self.server = aws_kms
        async with closing(of_aws(aws_kms).new()) as service:
            yield service

    def again(self, service: KeyService) -> KeyService:
        return of_aws(self.server).service(service.name)

    def other_key(self, service: KeyService) -> KeyService:
        return of_aws(self.server).new()

    def unreachable(self, service: KeyService) -> KeyService:
        return AwsKms(service.name, session=session(), endpoint_url=f"http://127.0.0.1:{free_port()}")

    async def test_context_is_not_run_together(self, service: KeyService) -> None:
        pytest.skip("moto, which stands for AWS here, runs names and values together")

    async def rotate(self, service: KeyService) -> None:
        await asyncio.to_thread(self.server.client.rotate_key_on_demand, KeyId=service.name)


class TestGoogleKms(KeyServiceSuite):
    server: GoogleKmsServer

    @pytest.fixture
    async def service(self, google_kms: GoogleKmsServer) -> AsyncIterator[KeyService]:
        self.server = google_kms
        async with closing(of_google(google_kms).new()) as service:
            yield service

    def again(self, service: KeyService) -> KeyService:
        return of_google(self.server).service(service.name)

    def other_key(self, service: KeyService) -> KeyService:
        return of_google(self.server).new()

    def unreachable(self, service: KeyService) -> KeyService:
        return GoogleKms(service.name, endpoint_url=f"http://127.0.0.1:{free_port()}")

    async def rotate(self, service: KeyService) -> None:
        self.server.keys[service.name].append(os.urandom(32))

    async def disable(self, service: KeyService) -> None:
        said = "... DESTROY_SCHEDULED."
        self.server.fault = lambda _: self.server.error(400, "FAILED_PRECONDITION", said)

    async def destroy(self, service: KeyService) -> None:
        self.server.keys[service.name][0] = None


class TestVaultTransit(KeyServiceSuite):
    server: OpenBao

    @pytest.fixture
    async def service(self, openbao: OpenBao) -> AsyncIterator[KeyService]:
        self.server = openbao
        async with closing(of_vault(openbao).new()) as service:
            yield service

    def again(self, service: KeyService) -> KeyService:
        return of_vault(self.server).service(service.name)

    def other_key(self, service: KeyService) -> KeyService:
        return of_vault(self.server).new()

    def unreachable(self, service: KeyService) -> KeyService:
        endpoint = f"http://127.0.0.1:{free_port()}"
        return VaultTransit(service.name, VaultAuth.token("any"), endpoint_url=endpoint)

    async def rotate(self, service: KeyService) -> None:
        self.server.change(service.name, "rotate")

    async def disable(self, service: KeyService) -> None:
        self.server.change(service.name, "soft-delete")

    async def destroy(self, service: KeyService) -> None:
        self.server.destroy(service.name)


async def test_a_version_of_googles_that_is_destroyed_was_said_to_be_worth_retrying(
    google_kms: GoogleKmsServer,
) -> None:
    name = google_kms.new_key()
    service = GoogleKms(name, endpoint_url=google_kms.endpoint)
    wrapped = await service.wrap(SECRET, CONTEXT)
    google_kms.keys[name].append(bytes(32))
    assert await service.unwrap(wrapped, CONTEXT) == SECRET
    google_kms.keys[name][0] = None
    with pytest.raises(KeyDestroyed, match="has destroyed the version"):
        await service.unwrap(wrapped, CONTEXT)
    # One that waits for its destruction can be restored.
    google_kms.fault = lambda _: google_kms.error(400, "FAILED_PRECONDITION", "... DESTROY_SCHEDULED.")
    with pytest.raises(KeyUnavailable, match=r"FAILED_PRECONDITION.*Enable the version") as caught:
        await service.unwrap(wrapped, CONTEXT)
    assert caught.value.retryable
    await service.close()


async def test_without_a_version_that_encrypts_no_key_was_destroyed(google_kms: GoogleKmsServer) -> None:
    name = google_kms.new_key()
    google_kms.keys[name][0] = None
    service = GoogleKms(name, endpoint_url=google_kms.endpoint)
    with pytest.raises(KeyUnavailable, match="FAILED_PRECONDITION") as caught:
        await service.wrap(SECRET, CONTEXT)
    assert caught.value.retryable
    await service.close()


async def test_what_googles_token_server_says_was_the_stores_fault(google_kms: GoogleKmsServer) -> None:
    class Refused(Credentials):
        later = False

        def refresh(self, request: object) -> None:
            raise RefreshError("internal", retryable=self.later)  # type: ignore[no-untyped-call]

    for later in (True, False):
        credentials = Refused()  # type: ignore[no-untyped-call]
        credentials.later = later
        service = GoogleKms(NAME, credentials=credentials, endpoint_url=google_kms.endpoint)
        with pytest.raises(KeyServiceError, match="credentials") as caught:
            await service.wrap(SECRET, CONTEXT)
        assert caught.value.retryable is later
        await service.close()


async def test_a_key_of_aws_that_is_not_there_is_unavailable(aws_kms: AwsKmsServer) -> None:
    unknown = f"{aws_kms.new_key().rpartition('/')[0]}/{'0' * 8}"
    service = AwsKms(unknown, session=session(), endpoint_url=aws_kms.endpoint)
    with pytest.raises(KeyUnavailable, match=r"NotFoundException.*Enable the key"):
        await service.wrap(SECRET, CONTEXT)
    await service.close()


ARN = "arn:aws:kms:eu-central-1:123456789012:key/0000"
NAME = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
AWAY = (KeyServiceError, True)
DENIED = (KeyServiceError, False)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "AccessDeniedException", DENIED),
        (400, "UnrecognizedClientException", DENIED),
        (400, "ThrottlingException", AWAY),
        (400, "LimitExceededException", AWAY),
        # moto encrypts with a key that is disabled, or waits for its deletion; AWS does not.
        (400, "DisabledException", (KeyUnavailable, True)),
        (400, "KMSInvalidStateException", (KeyUnavailable, True)),
        (500, "KeyUnavailableException", AWAY),
        (500, "KMSInternalException", AWAY),
        (503, "DependencyTimeoutException", AWAY),
    ],
)
async def test_what_aws_answers_in_our_terms(
    status: int, code: str, expected: tuple[type[CoatcheckError], bool]
) -> None:
    async with responding(status, f'{{"__type": "{code}"}}', {"x-amzn-RequestId": "1"}) as endpoint:
        service = AwsKms(ARN, session=session(), endpoint_url=endpoint)
        with pytest.raises(CoatcheckError, match=code) as caught:
            await service.wrap(SECRET, CONTEXT)
        assert (type(caught.value), caught.value.retryable) == expected
        assert caught.value.__context__ is None
        await service.close()


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        (403, "PERMISSION_DENIED", DENIED),
        (404, "NOT_FOUND", (KeyUnavailable, True)),
        (400, "FAILED_PRECONDITION", (KeyUnavailable, True)),
        (429, "RESOURCE_EXHAUSTED", AWAY),
        (503, "UNAVAILABLE", AWAY),
        (400, "INVALID_ARGUMENT", (ConfigError, False)),
    ],
)
async def test_what_google_answers_in_our_terms(
    google_kms: GoogleKmsServer, code: int, status: str, expected: tuple[type[CoatcheckError], bool]
) -> None:
    google_kms.fault = lambda _: google_kms.error(code, status)
    service = GoogleKms(NAME, endpoint_url=google_kms.endpoint)
    with pytest.raises(CoatcheckError, match=rf"answers {code} {status}") as caught:
        await service.wrap(SECRET, CONTEXT)
    assert (type(caught.value), caught.value.retryable) == expected
    await service.close()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"plaintext": 3}',
        '{"plaintext": "AAAA", "plaintextCrc32c": "1"}',
        '{"plaintext": "A", "plaintextCrc32c": "1"}',
    ],
)
async def test_a_damaged_answer_of_google_is_not_taken_for_a_key(
    google_kms: GoogleKmsServer, body: str
) -> None:
    google_kms.fault = lambda _: web.Response(text=body)
    service = GoogleKms(NAME, endpoint_url=google_kms.endpoint)
    with pytest.raises(KeyServiceError, match="damaged in transit"):
        await service.unwrap(b"wrapped", CONTEXT)
    await service.close()


async def test_a_service_that_is_not_there_is_worth_retrying() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    for service in (
        AwsKms(ARN, session=session(), endpoint_url=endpoint),
        GoogleKms(NAME, endpoint_url=endpoint),
    ):
        with pytest.raises(KeyServiceError, match="cannot be reached"):
            await service.wrap(SECRET, CONTEXT)
        await service.close()


@pytest.mark.parametrize(
    "name", ["", "alias/payloads", "arn:aws:kms:eu-central-1:123456789012:alias/payloads", NAME, ARN + "\n"]
)
def test_aws_takes_the_arn_of_a_key_alone(name: str) -> None:
    with pytest.raises(ConfigError, match="not the ARN"):
        AwsKms(name)


@pytest.mark.parametrize("name", ["", ARN, f"{NAME}/cryptoKeyVersions/1", f"../{NAME}", f"{NAME}?x"])
def test_google_takes_the_name_of_a_key_alone(name: str) -> None:
    with pytest.raises(ConfigError, match="not the name"):
        GoogleKms(name)
