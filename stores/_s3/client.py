"""Signed requests to S3's REST API. Needs the packages of ``coatcheck[s3]``."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from coatcheck.runtime.http import ERROR_LIMIT, Answer, HttpClient, Request
from coatcheck.stores._s3.answers import is_refused_key
from coatcheck.stores._s3.identity import AwsIdentity, Site, address_of

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

_NOTHING: Final = sha256(b"").hexdigest()


class _Signer(S3SigV4Auth):
    """Amazon's signature, version 4, over a body whose digest is known."""

    def payload(self, request: AWSRequest) -> str:
        """Return the digest of the body, in hexadecimal."""
        digest: str = request.context["digest"]
        return digest


class S3Client:
    """Sends one signed request at a time to a bucket. A request whose keys were refused is sent once more with new ones.

    Args:
        bucket: Its name.
        identity: Source of the credentials.
        site: The bucket's location.
        timeout: Seconds, as of :class:`HttpClient`.
        path_style: As of :class:`~coatcheck.S3Store`.
    """

    def __init__(
        self, bucket: str, identity: AwsIdentity, site: Site, timeout: float, *, path_style: bool | None
    ) -> None:
        address, in_path = address_of(bucket, site.endpoint, path_style=path_style)
        url = address.geturl().rstrip("/")
        self._url = f"{url}/{bucket}" if in_path else url
        self._region = site.region
        self._identity = identity
        self._http = HttpClient(f"{address.scheme}://{address.netloc}", timeout, ca_bundle=site.ca_bundle)

    async def ask(
        self,
        method: str,
        name: str,
        key: str,
        *,
        query: Mapping[str, str] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
        digest: str = _NOTHING,
        limit: int = ERROR_LIMIT,
    ) -> Answer:
        """Send a request about the object ``name``, or the bucket where it is empty, and read its answer.

        Args:
            method: The HTTP method.
            name: The object's key in the bucket.
            key: The object's key in the store, for errors.
            query: Parameters after the question mark.
            headers: S3's headers.
            body: Bytes to send; None for no body at all.
            digest: Its SHA-256, in hexadecimal.
            limit: As of :meth:`HttpClient.ask`.

        Raises:
            CoatcheckError: As :meth:`HttpClient.ask` and :meth:`AwsIdentity.credentials` raise.
        """
        url = f"{self._url}/{quote(name, safe='/-_.~')}{_joined(query)}"
        sent = () if body is None else (body,)
        request = Request(method, url, headers, sent, limit)
        credentials = await self._identity.credentials()
        answer = await self._http.ask(self._signed(request, digest, credentials), key)
        if not is_refused_key(answer) or not await self._identity.read_anew(credentials):
            return answer
        return await self._http.ask(self._signed(request, digest, await self._identity.credentials()), key)

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._http.close()

    def _signed(self, request: Request, digest: str, credentials: "ReadOnlyCredentials") -> Request:
        signing = AWSRequest(request.method, request.url, headers=dict(request.headers))
        signing.context["digest"] = digest
        _Signer(credentials, "s3", self._region).add_auth(signing)
        return replace(request, headers=dict(signing.headers.items()))


def _joined(query: Mapping[str, str]) -> str:
    """Return the query as it is sent and signed: in the order of its names."""
    if not query:
        return ""
    return "?" + "&".join(
        f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query)
    )
