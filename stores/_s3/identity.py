"""AWS credentials, region and endpoint: as boto3 finds them, and found again when they must be. Needs boto3."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from coatcheck.errors import CoatcheckError, ConfigError, StoreDenied, StoreUnavailable
from coatcheck.runtime.aws_session import new_session
from coatcheck.runtime.forks import after_fork

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import Credentials, ReadOnlyCredentials
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

_T = TypeVar("_T")

_CANNOT_WAIT: Final = 10 * 60
"""Seconds before credentials expire at which requests begin to wait for new ones, as botocore's own clients do."""
_PAUSE: Final = 30.0
"""Seconds between two tries to renew credentials that are still good for a while."""
_READ_ANEW_PAUSE: Final = 5.0
"""Seconds between two looks for other keys than those that were refused."""
_OUT_OF_REACH: Final = {
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "HTTPClientError",
    "MetadataRetrievalError",
    "ProxyConnectionError",
    "ReadTimeoutError",
}
_LATER: Final = {
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "IDPCommunicationError",
}
_PROCESS: Final = "custom-process"
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500
_AMAZON: Final = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True, slots=True)
class Site:
    """The location of S3."""

    endpoint: str
    region: str
    ca_bundle: str | None
    """A file of certificates; None for the system's."""

    @property
    def is_amazon(self) -> bool:
        """True if it is Amazon's own service."""
        return (urlsplit(self.endpoint).hostname or "").endswith(_AMAZON)


class AwsIdentity:
    """Finds endpoint, region and credentials by boto3's rules, on first use. Safe to use from several event loops at once.

    Args:
        session: Source of all three; None for a new one.
        region: Defaults to the session's.
        endpoint_url: Defaults to what the session finds.
        ca_bundle: Defaults to the session's (``AWS_CA_BUNDLE``, or ``ca_bundle`` of the profile).
    """

    def __init__(
        self,
        session: "boto3.Session | None",
        region: str | None,
        endpoint_url: str | None,
        ca_bundle: str | None,
    ) -> None:
        self._given = session
        self._region = region
        self._endpoint_url = endpoint_url
        self._ca_bundle = ca_bundle
        self._source: Credentials | None = None
        self._last: ReadOnlyCredentials | None = None
        self._asked = 0.0
        self._read = 0.0
        self._finding = threading.Lock()
        after_fork(self._start_anew)

    async def credentials(self) -> "ReadOnlyCredentials":
        """Return the credentials to sign the next request with.

        Raises:
            ConfigError: There are none, or they are set up wrongly.
            StoreDenied: Their renewal was refused.
            StoreUnavailable: They cannot be obtained now.
        """
        from botocore.credentials import RefreshableCredentials  # noqa: PLC0415 - optional

        source = self._source
        if source is None:
            source = await self._called(self._find_source)
        if not isinstance(source, RefreshableCredentials) or not source.refresh_needed():
            return source.get_frozen_credentials()
        now = time.monotonic()
        if self._last and now < self._asked + _PAUSE and not source.refresh_needed(_CANNOT_WAIT):
            return self._last
        self._asked = now
        # In a thread: it reads files, runs programs or asks the network.
        self._last = await self._called(source.get_frozen_credentials)
        return self._last

    async def read_anew(self, refused: "ReadOnlyCredentials") -> bool:
        """Look for other credentials after these were refused; return True if there are some now.

        A session that was given keeps what it has.
        """
        if self._given is not None or time.monotonic() < self._read + _READ_ANEW_PAUSE:
            return await self.credentials() != refused
        self._read = time.monotonic()
        self._source = await self._called(self._new_source)
        self._last = None
        return await self.credentials() != refused

    def client(self, bucket: str, timeout: float, *, path_style: bool | None) -> "S3Client":
        """Return a client of boto3's own, for a bucket's administration. Blocks; nothing is retried.

        Its calls raise StoreUnavailable for a success that is not S3's.
        """
        from botocore.config import Config  # noqa: PLC0415 - optional

        site = self.site()
        _, in_path = address_of(bucket, site.endpoint, path_style=path_style)
        client = self._session().client(
            "s3",
            region_name=site.region,
            endpoint_url=self._endpoint_url,
            verify=site.ca_bundle,
            config=Config(
                connect_timeout=timeout,
                read_timeout=timeout,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path" if in_path else "virtual"},
            ),
        )
        client.meta.events.register("before-parse.s3", _expect_s3)
        return client

    async def _called(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except CoatcheckError:
            raise
        except Exception as error:  # noqa: BLE001 - providers raise whatever their files, programs and services do
            failure = _typed(error)
        # Out here, so that the original does not hang on to it: it may quote what a program or a service said.
        raise failure

    def site(self) -> Site:
        """Return the site that requests go to. Reads files, and can take a quarter of a second.

        Raises:
            ConfigError: The AWS configuration cannot be used.
        """
        import botocore.exceptions  # noqa: PLC0415 - optional
        from botocore.utils import is_valid_endpoint_url  # noqa: PLC0415 - optional

        try:
            session = self._session()
            endpoint, region = self._endpoint_url, self._region or session.region_name
            if not endpoint or not region or not is_valid_endpoint_url(endpoint):
                # It loads the whole of S3's model, and nothing else is wanted of it.
                found = session.client("s3", region_name=region, endpoint_url=endpoint).meta
                endpoint, region = found.endpoint_url, found.region_name
            # boto3 has no other way to ask for it.
            ca_bundle = self._ca_bundle or session._session.get_config_variable("ca_bundle")  # noqa: SLF001
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise _unusable(error) from error
        return Site(endpoint, region, ca_bundle)

    def _session(self) -> "boto3.Session":
        return self._given if self._given is not None else new_session(self._ca_bundle, self._region)

    def _find_source(self) -> "Credentials":
        with self._finding:
            if self._source is None:
                self._source = self._new_source()
            return self._source

    def _new_source(self) -> "Credentials":
        found = self._session().get_credentials()
        if found is None:
            raise _none_found()
        return found

    def _start_anew(self) -> None:
        self._finding = threading.Lock()
        self._source = self._last = None


def address_of(bucket: str, endpoint: str, *, path_style: bool | None) -> tuple[SplitResult, bool]:
    """Return the endpoint for a bucket's requests, and True if the bucket stands in their path."""
    address = urlsplit(endpoint)
    in_path = path_style
    if in_path is None:
        in_path = "." in bucket or not (address.hostname or "").endswith(_AMAZON)
    return (address if in_path else address._replace(netloc=f"{bucket}.{address.netloc}")), in_path


def _expect_s3(response_dict: Mapping[str, Any], **_event: object) -> None:
    """Refuse a success that is not S3's: botocore takes an empty page for an empty answer, and follows redirects."""
    headers = {str(name).lower(): str(value) for name, value in response_dict["headers"].items()}
    is_page = headers.get("content-type", "").startswith("text/html")
    if response_dict["status_code"] < _BAD_REQUEST and (
        is_page or not any(name.startswith("x-amz-") for name in headers)
    ):
        raise StoreUnavailable(
            f"something other than S3 answered {response_dict['status_code']}",
            "Check the endpoint, and what stands in between: a proxy, or a page to sign in at.",
        )


def _none_found() -> CoatcheckError:
    what = "there are no AWS credentials"
    todo = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run on a machine with a role."
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "false").lower() == "true":
        return ConfigError(what, todo)
    # botocore does not tell an instance whose metadata service is away from a machine that has none.
    return StoreUnavailable(
        f"{what} in the environment or in files, and the instance's metadata service gives none",
        f"Retry if a role is attached to this machine. Else: {todo[0].lower()}{todo[1:]}",
    )


def _unusable(error: Exception) -> ConfigError:
    return ConfigError(
        f"the AWS configuration cannot be used: {error}".rstrip("."),
        "Correct the profile, the region or the endpoint.",
    )


def _typed(error: Exception) -> CoatcheckError:
    """Return our error for a credential provider's; quote it only if it is about settings, since it may quote an answer."""
    from botocore import exceptions as botocore  # noqa: PLC0415 - optional

    if isinstance(error, OSError) and error.filename:
        return ConfigError(
            f"{error.filename} cannot be read: {error.strerror}",
            "A setting for AWS names it: AWS_WEB_IDENTITY_TOKEN_FILE, or one of the profile. Correct it, or mount the file.",
        )
    settings = (
        botocore.ConfigNotFound,
        botocore.ConfigParseError,
        botocore.InfiniteLoopConfigError,
        botocore.InvalidConfigError,
        botocore.PartialCredentialsError,
        botocore.ProfileNotFound,
        botocore.UnknownCredentialError,
    )
    if isinstance(error, settings):
        return _unusable(error)
    if isinstance(error, botocore.ClientError):
        return _refused(error)
    name = type(error).__name__
    provider = getattr(error, "kwargs", {}).get("provider", "")
    if name in _OUT_OF_REACH or (
        isinstance(error, botocore.CredentialRetrievalError) and provider != _PROCESS
    ):
        return StoreUnavailable(
            f"the AWS credentials cannot be obtained now: {' '.join(filter(None, (provider, name)))}",
            "Retry; check their source (the agent, the instance's metadata service) and the network.",
        )
    if provider == _PROCESS:
        return StoreDenied(
            "the program that gives the AWS credentials failed",
            "Run the profile's credential_process by hand.",
        )
    return StoreDenied(
        f"there are no AWS credentials: {name}", "Sign in again, or correct the profile or role."
    )


def _refused(error: "ClientError") -> CoatcheckError:
    code = error.response["Error"].get("Code", "")
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    said = f"{error.operation_name} for the AWS credentials answers {status} {code}".rstrip()
    if status >= _SERVER_ERROR or code in _LATER:
        return StoreUnavailable(said, "Retry after a pause.")
    return StoreDenied(said, "Check the role and who may assume it, or sign in again.")
