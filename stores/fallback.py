"""A store that reads from replicas when it is down."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject, check_key
from coatcheck.errors import CoatcheckError, ConfigError, LimitExceeded, PayloadNotFound, StoreUnavailable

DEFAULT_PATIENCE = 2.0
"""Seconds."""
_WARN_EVERY = 60.0
"""Seconds."""

_logger = logging.getLogger("coatcheck")


class FallbackStore(Store):
    """A store that reads from a replica if the primary lacks the object or does not answer; all else goes to the primary.

    For a failover between regions: the bucket's own replication, or another tool, copies the objects, and while the primary's
    region is down, replays read from the replicas. Writes, deletes and listings fail meanwhile. Deletes and replaces reach
    the replicas by that replication; until then, or forever if it does not copy them, reads can find the old object there.
    So the result of :meth:`get` proves nothing about the object. To be certain, call :meth:`get_uncached`, or list: only
    the primary answers these.

    A read asks the stores in the given order. It asks the next one as soon as one fails in any way, or has been silent for
    ``patience`` seconds; then it waits for both, and the first that has the object wins. Later reads do not wait for a
    store that failed or was silent, until it answers again. A refusal by the primary (denied, or wrongly configured)
    does not stop a read either, since in an outage a region's credential service is often down too; but it never counts
    as "missing". Nor does an object above the limit stop a read: the next store may have the right one. Failures are
    logged, at most once a minute.

    If no store returns the object, :meth:`get` raises the least final error:

    1. :class:`StoreUnavailable` if any store was unavailable: the object may be there.
    2. else the first error of another kind, such as :class:`StoreDenied` or :class:`LimitExceeded`, in the order of the
       stores
    3. :class:`PayloadNotFound` only if every store says that it does not have the object

    Safe from several threads and event loops if the stores are. Put a cache around it, not inside.

    Args:
        primary: The store for writes, deletes and listings; it is read first.
        *replicas: At least one; read in this order, never written.
        patience: Seconds of silence after which a read asks the next store as well.

    Raises:
        ConfigError: There is no replica, or ``patience`` is negative.
    """

    def __init__(self, primary: Store, *replicas: Store, patience: float = DEFAULT_PATIENCE) -> None:
        if not replicas:
            raise ConfigError("FallbackStore needs a replica", "Pass one, or use the primary by itself.")
        if not patience >= 0:
            raise ConfigError(f"patience={patience} must not be negative", "Use 0 to ask all stores at once.")
        self._primary = primary
        self._stores = (primary, *replicas)
        self._patience = patience
        self._failing: set[int] = set()
        self._next_warning = 0.0

    def __repr__(self) -> str:
        return f"FallbackStore({', '.join(map(repr, self._stores))})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`: in the primary."""
        return await self._primary.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`: in the primary."""
        await self._primary.replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`; for the errors see the class. No attempt outlives the call."""
        check_key(key)
        tasks: list[asyncio.Task[bytes | CoatcheckError]] = []
        try:
            for position in range(len(self._stores)):
                tasks.append(asyncio.ensure_future(self._ask(position, key, limit)))
                data = await self._first_found(tasks)
                if data is not None:
                    return data
        finally:
            unfinished = [task for task in tasks if not task.done()]
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)
        raise _most_telling(
            [outcome for task in tasks if not isinstance(outcome := task.result(), bytes)], key
        )

    async def get_uncached(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get_uncached`: from the primary."""
        return await self._primary.get_uncached(key, limit)

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`: from the primary."""
        await self._primary.delete(key)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`: those of the primary."""
        await self._primary.delete_versions(prefix)

    def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`: those of the primary."""
        return self._primary.list_objects(prefix)

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`: those of the primary."""
        return await self._primary.list_first(prefix, count)

    async def forget(self, key: str) -> None:
        """See :meth:`Store.forget`: all stores."""
        await asyncio.gather(*(store.forget(key) for store in self._stores))

    async def close(self) -> None:
        """See :meth:`Store.close`: all stores, then raise the first error if there was one."""
        outcomes = await asyncio.gather(*(store.close() for store in self._stores), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _first_found(self, tasks: Sequence["asyncio.Task[bytes | CoatcheckError]"]) -> bytes | None:
        """Return the object from one of ``tasks``; None if it is time to ask the next store, or all have failed."""
        newest = len(tasks) - 1
        last = len(tasks) == len(self._stores)
        while unfinished := [task for task in tasks if not task.done()]:
            silence = None if last else 0 if newest in self._failing else self._patience
            done, _ = await asyncio.wait(unfinished, timeout=silence, return_when=asyncio.FIRST_COMPLETED)
            for outcome in (task.result() for task in unfinished if task in done):
                if isinstance(outcome, bytes):
                    return outcome
            if not done and newest not in self._failing:
                self._note_failure(newest, f"silent for {self._patience:g} s")
            if not last:
                break
        return None

    async def _ask(self, position: int, key: str, limit: int) -> bytes | CoatcheckError:
        outcome: bytes | CoatcheckError
        try:
            outcome = await self._stores[position].get(key, limit)
        except (PayloadNotFound, LimitExceeded) as error:
            outcome = error
        except CoatcheckError as error:
            self._note_failure(position, error.what)
            return error
        self._failing.discard(position)
        return outcome

    def _note_failure(self, position: int, what: str) -> None:
        self._failing.add(position)
        if time.monotonic() >= self._next_warning:
            self._next_warning = time.monotonic() + _WARN_EVERY
            _logger.warning("reads continue without the %s: %s", _name(position), what)


def _name(position: int) -> str:
    return f"replica {position}" if position else "primary"


def _most_telling(errors: Sequence[CoatcheckError], key: str) -> CoatcheckError:
    """Return the error to raise for ``errors``, which are in the order of the stores."""
    said = "; ".join(f"{_name(position)}: {error.what}" for position, error in enumerate(errors))
    unavailable = [error for error in errors if isinstance(error, StoreUnavailable)]
    if unavailable:
        pauses = [error.retry_after for error in unavailable if error.retry_after is not None]
        told = StoreUnavailable(
            f"no store returned the object ({said})", unavailable[0].todo, key, max(pauses, default=None)
        )
        told.__cause__ = unavailable[0]
        return told
    for error in errors:
        if not isinstance(error, PayloadNotFound):
            return error
    return PayloadNotFound(f"no store has the object ({said})", errors[0].todo, key)
