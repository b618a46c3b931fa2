"""Objects in a Google Cloud Storage bucket."""

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from coatcheck.contracts.store import DEFAULT_LIMIT, MAX_KEY_LENGTH, Store, StoredObject, check_key
from coatcheck.errors import ConfigError
from coatcheck.stores._gcs.endpoint import endpoint_of, is_emulator
from coatcheck.stores._listing_order import ListingOrder

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_GCS_NAME_LENGTH = 1024
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_PAGE = 1000


class GCSStore(Store):
    """Keeps objects in a Google Cloud Storage bucket, below ``prefix``. Needs ``pip install 'coatcheck[gcs]'``.

    google-auth finds and renews the credentials; requests go to the JSON API. Nothing is looked up and no
    connection is opened before the first request.

    Each write is one request, with ``ifGenerationMatch=0`` for a create, and carries the CRC32C of its bytes,
    which the service checks before it keeps anything; bytes read are compared with the CRC32C that the service gives.
    No failed write is retried here.

    The credentials need ``storage.objects.create``, ``get``, ``delete`` and ``list`` on the bucket; without the
    last, the service answers "denied" for a missing object. Google accepts about one write a second to the same key
    and asks the others to come back later.

    Redirects are never followed. A success counts only if it carries what Google alone can know of the request, so a
    page that a proxy shows instead is an error.

    Args:
        bucket: Its name; it must exist.
        prefix: Segments that all keys are kept below, such as ``"prod/payloads"``.
        credentials: google-auth's. Defaults to application default credentials.
        project: The project that requests are billed to. Defaults to that of the credentials.
        endpoint_url: Another address of the service; with ``http://`` an emulator, to which no credentials are
            sent unless they are given here. Defaults to ``STORAGE_EMULATOR_HOST``, and to
            ``https://storage.googleapis.com``.
        connections: Most requests under way at once in each event loop; others wait in line.
        ca_bundle: A PEM file of the issuers to trust for the service and for Google's token server. Defaults to the
            system's.
        timeout: Seconds of silence, or of less than 1 MiB a second, after which a request is given up, not counting the
            wait in line.

    Raises:
        ConfigError: An argument is malformed, or a package is not installed.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        credentials: "Credentials | None" = None,
        project: str | None = None,
        endpoint_url: str | None = None,
        connections: int = 64,
        ca_bundle: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        try:
            from coatcheck.google.client import GoogleClient  # noqa: PLC0415 - optional
            from coatcheck.google.identity import GoogleIdentity  # noqa: PLC0415 - optional
            from coatcheck.stores._gcs.bucket import GCSBucket  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise ConfigError(
                f"{missing.name} is not installed", "Run: pip install 'coatcheck[gcs]'"
            ) from missing
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(
                f"{bucket[:80]!r} is not a bucket name", "Pass the bucket's name alone, without gs://."
            )
        if connections < 1:
            raise ConfigError("a store needs at least one connection", "Pass connections=1 or more.")
        self.bucket = bucket
        self.prefix = f"{check_key(prefix.removesuffix('/'))}/" if prefix else ""
        if len(self.prefix) + MAX_KEY_LENGTH > _GCS_NAME_LENGTH:
            raise ConfigError(
                f"the prefix has {len(self.prefix)} characters, which leaves too few of {_GCS_NAME_LENGTH} for keys",
                f"Use at most {_GCS_NAME_LENGTH - MAX_KEY_LENGTH} characters.",
            )
        endpoint = endpoint_of(endpoint_url)
        identity = GoogleIdentity(
            credentials, _SCOPE, project=project, ca_bundle=ca_bundle, anonymous=is_emulator(endpoint)
        )
        client = GoogleClient(endpoint, identity, timeout, connections=connections, ca_bundle=ca_bundle)
        self._bucket = GCSBucket(bucket, client)

    def __repr__(self) -> str:
        return f"GCSStore({self.bucket!r}, {self.prefix!r})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        return await self._bucket.put(self._name(key), data, key, create=True)

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        await self._bucket.put(self._name(key), data, key, create=False)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`.

        Raises:
            IntegrityError: The bytes were damaged in transit.
        """
        return await self._bucket.get(self._name(key), limit, key)

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        await self._bucket.delete(self._name(key), key)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`. Soft delete, where a bucket has it, keeps its own copies for its time."""
        await self._bucket.delete_versions(self.prefix + prefix)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. One request for each 1,000 objects, in the order of their keys."""
        if not (prefix.isascii() and prefix.isprintable()):
            return  # No key starts like this.
        token: str | None = None
        order = ListingOrder()
        while token != "":
            page, token = await self._bucket.page(self.prefix + prefix, _PAGE, token or "")
            for entry in page:
                yield entry._replace(key=order.check(entry.key).removeprefix(self.prefix))

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`. One request for each 1,000 objects."""
        if not (prefix.isascii() and prefix.isprintable()) or count < 1:
            return []
        first: list[StoredObject] = []
        order = ListingOrder()
        token: str | None = None
        while token != "" and len(first) < count:
            page, token = await self._bucket.page(
                self.prefix + prefix, min(count - len(first), _PAGE), token or ""
            )
            first += [entry._replace(key=order.check(entry.key).removeprefix(self.prefix)) for entry in page]
        return first[:count]

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self._bucket.close()

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)
