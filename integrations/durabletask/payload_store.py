"""The SDK's hook for large payloads, on a chain."""

import asyncio
import logging
from collections.abc import Sequence
from copy import copy
from typing import Final, Protocol

from durabletask.payload import LargePayloadStorageOptions, PayloadStore
from durabletask.serialization import DataConverter

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, ConfigError, FormatError, LimitExceeded, StoreUnavailable
from coatcheck.format.wire import is_ours
from coatcheck.integrations.durabletask.converter import SealingConverter
from coatcheck.integrations.durabletask.pace import Pace
from coatcheck.integrations.durabletask.scopes import instance_scope
from coatcheck.integrations.durabletask.tokens import from_token, from_value, to_token, to_value
from coatcheck.runtime.portal import on_loop, run_eagerly
from coatcheck.scope import Scope

_LEAST_THRESHOLD: Final = 256
_MOST_INLINE: Final = 256 * 1024
"""Most bytes, sealed, that stand in a history because the store does not take them: what the SDK leaves there by default."""
_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0
"""Seconds."""

_log = logging.getLogger("coatcheck.durabletask")


class TokenReader(Protocol):
    """Reads what another payload store wrote; never writes."""

    def is_known_token(self, value: str) -> bool:
        """Tell if ``value`` is a token of that store, and one that may be read. Pure."""
        ...

    def download(self, token: str) -> bytes:
        """Return the payload behind a token that it knows."""
        ...

    async def download_async(self, token: str) -> bytes:
        """Do :meth:`download` without blocking."""
        ...


class ClaimCheckPayloadStore(PayloadStore):
    """The ``payload_store`` of workers and clients. One object serves any number of them, in all threads and event loops.

    Args:
        chain: The chain for all payloads.
        tenant: The tenant that they belong to.
        threshold: Bytes of a payload up to which the SDK does not show it to this store; :meth:`converter` seals those.
            The SDK also shows it instance IDs, versions and names, which back ends have to read: it must exceed the longest.
        patience: Seconds for which the synchronous methods, which workers use, wait for a store or a key. A worker that
            cannot deliver what an activity returned has run it in vain. For clients, see :meth:`for_clients`.
        read_also: Readers of other stores' tokens.

    Raises:
        ConfigError: The chain accepts only sealed payloads, which cannot be kept up here; or ``threshold`` is less than 256.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        tenant: str = "default",
        threshold: int = 1024,
        patience: float = 600.0,
        read_also: Sequence[TokenReader] = (),
    ) -> None:
        if not chain.accepts_plain:
            raise ConfigError(
                "the chain accepts only sealed payloads, but durabletask does not show small payloads to a payload store",
                "Use Encrypt(keyring, accept_plain=True) with durabletask.",
            )
        if threshold < _LEAST_THRESHOLD:
            raise ConfigError(
                f"threshold is {threshold} bytes, so instance IDs and versions would be replaced by tokens",
                f"Use at least {_LEAST_THRESHOLD}.",
            )
        self.chain = chain
        self._tenant = tenant
        self._options = LargePayloadStorageOptions(
            threshold_bytes=threshold, max_stored_payload_bytes=chain.max_payload, enable_compression=False
        )
        self._patience = patience
        self._read_also = tuple(read_also)
        self._pace = Pace()
        self._opens_values = False

    @property
    def options(self) -> LargePayloadStorageOptions:
        """The threshold and the largest payload, as the SDK reads them."""
        return self._options

    def converter(self, inner: DataConverter | None = None) -> SealingConverter:
        """Return the ``data_converter`` that seals what is too small for this store.

        Args:
            inner: The converter that makes text of values; by default the SDK's JSON.
        """
        return SealingConverter(self, inner)

    def for_clients(self) -> "ClaimCheckPayloadStore":
        """Return the same store for synchronous clients: without patience, and opening what the converter sealed too."""
        store = copy(self)
        store._patience, store._opens_values = 0.0, True  # noqa: SLF001 - its own
        return store

    def upload(self, data: bytes, *, instance_id: str | None = None) -> str:
        """Return what stands in the history in place of ``data``: a token whose object is durable.

        What the store does not accept stands there itself, sealed; if it is too large for that, it waits for the store.

        Raises:
            LimitExceeded: It is larger than the chain's ``max_payload``.
            CoatcheckError: The store does not accept it, nor did it within ``patience``, and it is too large for a history.
        """
        return run_eagerly(self._upload(data, instance_id, self._patience))

    async def upload_async(self, data: bytes, *, instance_id: str | None = None) -> str:
        """Do :meth:`upload` without blocking, and without patience: asynchronous clients have done nothing yet."""
        return await self._upload(data, instance_id, 0.0)

    def download(self, token: str) -> bytes:
        """Return the payload behind a token, with the rights of the tenant: instances are handed each other's payloads.

        Raises:
            FormatError: It is no token that this store knows.
            CoatcheckError: As :meth:`Chain.open`. Where a token fails again, the error comes with a delay of up to 8 seconds.
        """
        if from_value(token) and not self._opens_values:
            # A worker may hand it on as it came, and would do so in the clear: the converter opens it.
            return token.encode()
        self._pace.wait(token)
        try:
            sealed = from_token(token) or from_value(token)
            if sealed is None:
                data = self._reader_of(token).download(token)
            else:
                data = run_eagerly(self._opened(sealed, self._patience))
        except Exception:
            self._pace.failed(token)
            raise
        self._pace.succeeded(token)
        return data

    async def download_async(self, token: str) -> bytes:
        """Do :meth:`download` without blocking, and at once."""
        sealed = from_token(token) or from_value(token)
        if sealed is None:
            return await self._reader_of(token).download_async(token)
        return await self._opened(sealed, 0.0)

    def is_known_token(self, value: str) -> bool:
        """Return True for a token of this store or of a reader, and for what the converter sealed."""
        return bool(from_token(value) or from_value(value)) or any(
            reader.is_known_token(value) for reader in self._read_also
        )

    def seal_value(self, text: str) -> str:
        """Return what replaces a payload that stays in the history whatever happens to stores: it belongs to the tenant.

        Raises:
            CoatcheckError: The tenant's key could not be had within ``patience``.
        """
        sealing = self._kept(text.encode(), Scope(self._tenant), "", self._patience, inline=True)
        sealed = run_eagerly(sealing)
        return to_value(sealed) if is_ours(sealed) else text

    def open_value(self, text: str) -> str:
        """Return the payload that ``text`` stands for; ``text`` itself if it stands for nothing.

        Raises:
            CoatcheckError: As :meth:`download`.
        """
        sealed = from_value(text)
        if sealed:
            return run_eagerly(self._opened(sealed, self._patience)).decode()
        return self.download(text).decode() if self.is_known_token(text) else text

    async def _upload(self, data: bytes, instance: str | None, patience: float) -> str:
        name = f"instance:{instance}" if instance else ""
        encoded = await self._kept(data, instance_scope(self._tenant, instance), name, patience)
        # A chain that encodes nothing, or gains nothing, returns the payload itself.
        return to_token(encoded) if is_ours(encoded) else encoded.decode()

    async def _kept(
        self, data: bytes, scope: Scope, name: str, patience: float, *, inline: bool = False
    ) -> bytes:
        """Return the bytes for the history, after any number of attempts within ``patience`` seconds."""
        pauses = _Pauses(patience)
        while True:
            try:
                return await self.chain.encode(data, scope, inline=inline, name=name)
            except (ConfigError, LimitExceeded):
                raise
            except CoatcheckError as error:
                sealed = None if inline else await self._inline(data, scope)
                if sealed is not None:
                    _log.warning(
                        "A payload is kept in the history, since the store does not accept it: %s", error
                    )
                    return sealed
                if await pauses.is_over():
                    raise
                _log.warning("A payload waits for the store or its key: %s", error)
            await pauses.wait()

    async def _inline(self, data: bytes, scope: Scope) -> bytes | None:
        """Return the payload sealed inline; None if it is too large for that, or there is no key."""
        try:
            sealed = await self.chain.encode(data, scope, inline=True)
        except CoatcheckError:
            return None
        return sealed if len(sealed) <= _MOST_INLINE else None

    async def _opened(self, sealed: bytes, patience: float) -> bytes:
        """Open an envelope or a reference; wait ``patience`` seconds for a store that is down."""
        pauses = _Pauses(patience)
        while True:
            try:
                return await self.chain.open(sealed, Scope(self._tenant))
            except StoreUnavailable as error:
                if await pauses.is_over():
                    raise
                _log.warning("A payload cannot be read yet: %s", error)
            await pauses.wait()

    def _reader_of(self, token: str) -> TokenReader:
        for reader in self._read_also:
            if reader.is_known_token(token):
                return reader
        raise FormatError(
            "this is no token of a payload store that is configured", "Name that store in read_also."
        )


class _Pauses:
    """Pauses between attempts, each twice as long as the one before, until the patience ends."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._next = _PAUSE
        self._until: float | None = None

    async def is_over(self) -> bool:
        """Return True if there is no time for another attempt; the first call begins the time."""
        now = (await on_loop()).time()
        if self._until is None:
            self._until = now + self._patience
        return now >= self._until

    async def wait(self) -> None:
        """Wait for the next attempt; after :meth:`is_over`."""
        await asyncio.sleep(self._next)
        self._next = min(2 * self._next, _LONGEST_PAUSE)
