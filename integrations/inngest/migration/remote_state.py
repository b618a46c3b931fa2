"""Reader of results stored by Inngest's remote-state middleware (``inngest.experimental.remote_state_middleware``, "inngest/s3")."""

import re
from collections.abc import Mapping
from typing import Any, Final

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError, FormatError, LimitExceeded
from coatcheck.integrations.inngest.marker import from_json
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.cache import PROCESS_CACHE, PayloadCache

_MAX_SIZE: Final = 64 * 2**20
"""Bytes: 64 MiB, twice the limit of a whole run in Inngest."""


class RemoteStateReader:
    """Reads step results that the official middleware left in S3; for ``claim_check(read_also=[...])``.

    Its results are not authenticated, so the buckets are configured, and reads are confined to the objects of the run
    that asks: ``inngest/remote_state/RUN/``. Each object is fetched once, as long as the cache has room for it.

    Args:
        buckets: The buckets that may be read, by the names under which the middleware wrote: any store whose keys are
            those of the bucket, such as ``{"state": S3Store("state")}``.
        max_size: Bytes; no larger result is taken.
        cache: Cache of results.
    """

    def __init__(
        self, buckets: Mapping[str, Store], *, max_size: int = _MAX_SIZE, cache: PayloadCache = PROCESS_CACHE
    ) -> None:
        self._buckets = dict(buckets)
        self._max_size = max_size
        self._cache = cache
        self._reading: SingleFlight[bytes] = SingleFlight()

    def knows(self, value: object) -> bool:
        """See :meth:`FormatReader.knows`."""
        return (
            isinstance(value, dict)
            and value.keys() == {"__REMOTE_STATE__", "__STRATEGY__", "bucket", "key"}
            and value["__REMOTE_STATE__"] is True
            and value["__STRATEGY__"] == "inngest/s3"
        )

    async def read(self, value: Any, run: str) -> Any:
        """See :meth:`FormatReader.read`.

        Raises:
            ConfigError: The bucket is not one that may be read.
            FormatError: The key is not one of this run, or the object is not JSON.
            LimitExceeded: It is larger than ``max_size``.
            CoatcheckError: As :meth:`Store.get`.
        """
        bucket, key = value["bucket"], value["key"]
        store = self._buckets.get(bucket) if isinstance(bucket, str) else None
        if store is None:
            raise ConfigError(
                "a step's result is in a bucket that RemoteStateReader does not read",
                "Name it in RemoteStateReader({...}) if it is yours.",
            )
        if not isinstance(key, str) or not re.fullmatch(
            rf"inngest/remote_state/{re.escape(run)}/[A-Za-z0-9]{{32}}", key
        ):
            raise FormatError(
                "the key of a step's result is not in this run", "The run state was tampered with."
            )
        name = f"inngest/s3/{bucket}/{key}"
        data = self._cache.get(name)
        if data is None:
            data = await self._reading.run(name, lambda: self._fetch(store, key, name))
        return from_json(data)

    async def _fetch(self, store: Store, key: str, name: str) -> bytes:
        data = await store.get(key)
        if len(data) > self._max_size:
            raise LimitExceeded(
                f"a step's result has {len(data)} bytes; at most {self._max_size} are allowed",
                "Raise RemoteStateReader(max_size=...) if results of this size are expected.",
            )
        self._cache.put(name, data)
        return data
