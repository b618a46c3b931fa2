"""Reader of payloads that the SDK's own store left in Azure Blob Storage (``BlobPayloadStore``)."""

from typing import Final

from durabletask.payload import PayloadStore

from coatcheck.errors import ConfigError

_START: Final = "blob:v1:"


class BlobReader:
    """Reads the tokens ``blob:v1:CONTAINER:NAME`` of one container; for ``ClaimCheckPayloadStore(read_also=[...])``.

    Nothing authenticates such payloads, and the SDK's store reads from whichever container of its account a token names. So
    the container is configured, and tokens of others are not tokens.

    Args:
        store: The SDK's ``BlobPayloadStore``, or any other store with such tokens.
        container: The container that may be read.

    Raises:
        ConfigError: ``container`` is not the name of a container.
    """

    def __init__(self, store: PayloadStore, container: str = "durabletask-payloads") -> None:
        if not container or ":" in container:
            raise ConfigError(f"{container!r} is not the name of a container", "Name the container.")
        self._store = store
        self._begin = f"{_START}{container}:"

    def is_known_token(self, value: str) -> bool:
        """Return True for a token of the container."""
        return len(value) > len(self._begin) and value.startswith(self._begin)

    def download(self, token: str) -> bytes:
        """Return the payload, by the SDK's store."""
        return self._store.download(token)

    async def download_async(self, token: str) -> bytes:
        """Do :meth:`download` without blocking."""
        return await self._store.download_async(token)
