"""AWS KMS. Needs boto3: ``pip install 'coatcheck[kms]'``."""

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    IntegrityError,
    KeyServiceError,
    KeyUnavailable,
)
from coatcheck.keys.kms import KeyService
from coatcheck.runtime.aws_session import new_session
from coatcheck.runtime.forks import abandon, after_fork

if TYPE_CHECKING:
    import boto3
    from botocore.exceptions import ClientError
    from mypy_boto3_kms import KMSClient

_T = TypeVar("_T")

_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]{1,64}")
_SECRET_LENGTH: Final = 32
_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 5
_SERVER_ERROR: Final = 500

# The errors that AWS documents for Decrypt, Encrypt and GenerateDataKey, and those common to all of KMS.
_GONE: Final = frozenset({"DisabledException", "KMSInvalidStateException", "NotFoundException"})
_FOREIGN: Final = frozenset({"IncorrectKeyException", "InvalidCiphertextException"})
_LATER: Final = frozenset(
    {
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class AwsKms(KeyService):
    """A symmetric key of AWS KMS. boto3 finds the credentials and the endpoint; the region is that of the key.

    The credentials need ``kms:GenerateDataKey`` and ``kms:Decrypt`` on the key, and ``kms:Encrypt`` for
    ``coatcheck rekey``. Keys are bound by the encryption context, which CloudTrail logs: it names no tenant.

    Args:
        arn: The key's own ARN. Not an alias, which may later point to another key.
        session: Source of credentials. Defaults to a new one, by boto3's own rules.
        endpoint_url: A service other than Amazon's. Defaults to what boto3 finds.
        ca_bundle: A PEM file of the issuers to trust for the service, and for the source of the credentials unless a
            session is given. Defaults to what boto3 finds (``AWS_CA_BUNDLE``), else to the system's.

    Raises:
        ConfigError: ``arn`` is not a key's ARN, or boto3 is not installed.
    """

    kind: ClassVar[str] = "AWS KMS"

    def __init__(
        self,
        arn: str,
        *,
        session: "boto3.Session | None" = None,
        endpoint_url: str | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        if find_spec("boto3") is None:
            raise ConfigError("boto3 is not installed", "Run: pip install 'coatcheck[kms]'")
        found = _ARN.fullmatch(arn)
        if found is None:
            raise ConfigError(
                f"{arn[:200]!r} is not the ARN of a key of AWS KMS",
                "Give the key's own, arn:aws:kms:REGION:ACCOUNT:key/ID. An alias may later point to another key.",
            )
        self.name = arn
        self._region = found["region"]
        self._session = session
        self._endpoint_url = endpoint_url
        self._ca_bundle = ca_bundle
        self._client: KMSClient | None = None
        self._opening = threading.Lock()
        after_fork(self._start_anew)

    def __repr__(self) -> str:
        return f"AwsKms({self.name!r})"

    async def generate(self, context: Mapping[str, str]) -> tuple[bytes, bytes]:
        """See :meth:`KeyService.generate`: the random bytes are those of the KMS."""

        def generate(client: "KMSClient") -> tuple[bytes, bytes]:
            answer = client.generate_data_key(
                KeyId=self.name, NumberOfBytes=_SECRET_LENGTH, EncryptionContext=context
            )
            return answer["Plaintext"], answer["CiphertextBlob"]

        return await self._ask(generate)

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """See :meth:`KeyService.wrap`."""

        def wrap(client: "KMSClient") -> bytes:
            answer = client.encrypt(KeyId=self.name, Plaintext=secret, EncryptionContext=context)
            return answer["CiphertextBlob"]

        return await self._ask(wrap)

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See :meth:`KeyService.unwrap`."""

        def unwrap(client: "KMSClient") -> bytes:
            answer = client.decrypt(KeyId=self.name, CiphertextBlob=wrapped, EncryptionContext=context)
            return answer["Plaintext"]

        return await self._ask(unwrap)

    async def close(self) -> None:
        """See :meth:`KeyService.close`."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _start_anew(self) -> None:
        """Drop connections in a forked child: they are the parent's."""
        abandon(self._client)
        self._client = None
        self._opening = threading.Lock()

    async def _ask(self, request: Callable[["KMSClient"], _T]) -> _T:
        # In a thread: boto3 waits.
        return await asyncio.to_thread(self._ask_now, request)

    def _ask_now(self, request: Callable[["KMSClient"], _T]) -> _T:
        from botocore.exceptions import (  # noqa: PLC0415 - optional
            BotoCoreError,
            ClientError,
            ConnectionError,  # noqa: A004 - botocore's name
            HTTPClientError,
            SSLError,
        )

        failure: CoatcheckError
        try:
            return request(self._opened())
        except ClientError as error:
            failure = self._typed(error)
        except (ConnectionError, HTTPClientError) as error:
            untrusted = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
            failure = (
                self._untrusted()
                if untrusted
                else KeyServiceError(
                    f"{self.kind} cannot be reached ({type(error).__name__})", "Retry; check the network."
                )
            )
        except (BotoCoreError, ValueError) as error:
            failure = ConfigError(
                f"the AWS configuration cannot be used: {error}".rstrip("."),
                "Correct the credentials, the profile or the endpoint.",
            )
        # Out here, so that the original does not hang on to it: it holds the request, with what was to be wrapped.
        raise failure

    def _opened(self) -> "KMSClient":
        from botocore.config import Config  # noqa: PLC0415 - optional

        with self._opening:
            if self._client is None:
                session = self._session or new_session(self._ca_bundle)
                self._client = session.client(
                    "kms",
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    verify=self._ca_bundle,
                    # One policy repeats, and it is not boto3's.
                    config=Config(
                        connect_timeout=_CONNECT_SECONDS,
                        read_timeout=_READ_SECONDS,
                        retries={"total_max_attempts": 1},
                    ),
                )
            return self._client

    def _untrusted(self) -> ConfigError:
        return ConfigError(
            f"the certificate of {self.kind} is not accepted",
            "If its issuer is your own, as a proxy's, name its certificate: ca_bundle= of AwsKms, or the setting ca_bundle.",
        )

    def _typed(self, error: "ClientError") -> CoatcheckError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = f"{self.kind} answers {code} for {self.name}"
        if code in _FOREIGN:
            return IntegrityError(
                "a wrapped key was damaged, or moved from another place", "Restore the original record."
            )
        if code in _GONE:
            return KeyUnavailable(said, "Enable the key, or cancel its deletion.")
        if code in _LATER or status >= _SERVER_ERROR:
            return KeyServiceError(said, "Retry after a pause.")
        return KeyServiceError(
            said,
            "Allow kms:GenerateDataKey, kms:Decrypt and kms:Encrypt in the key's policy or the role's.",
            retryable=False,
        )
