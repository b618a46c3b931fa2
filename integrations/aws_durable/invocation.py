"""The work of a chain within one invocation of a durable function."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, FormatError, LimitExceeded, StoreUnavailable
from coatcheck.integrations.aws_durable.form import marked, read, unmarked
from coatcheck.integrations.aws_durable.patience import Patience
from coatcheck.integrations.aws_durable.savings import Savings
from coatcheck.keys.lease import KeyLease
from coatcheck.pipeline.upload import Upload
from coatcheck.runtime.portal import run_blocking, run_eagerly
from coatcheck.scope import Scope

MOST_INLINE: Final = 256 * 1024 - 1024
"""Most bytes of a value: the service accepts checkpoints of 256 KB, and the rest of one is far below 1 KB."""
_SPARE: Final = 2.0
"""Seconds before the end of an invocation at which it gives up waiting for a store, to checkpoint what it has."""
_PAUSE: Final = 1.0
"""Seconds between two tries to store a value too large for a checkpoint; each has retries and a deadline of its own."""
_TEXT: Final = ("utf-8", "surrogatepass")

_log = logging.getLogger("coatcheck.aws_durable")


class Invocation:
    """Encodes and decodes the values of one invocation, in whatever threads its operations run.

    Nothing is under way between two calls of a method: Lambda may freeze the process then.

    Args:
        chain: The chain for all values.
        tenant: The tenant that they belong to.
        patience: Decides what is retried.
        savings: Counts what is written.
        seconds_left: Returns the seconds until Lambda ends the invocation; None outside of any, where nothing waits for longer
            than a call to the store takes.
    """

    def __init__(
        self,
        chain: Chain,
        tenant: str,
        patience: Patience,
        savings: Savings,
        seconds_left: Callable[[], float] | None = None,
    ) -> None:
        self.tenant = tenant
        self.savings = savings
        self._chain = chain
        self._patience = patience
        self._seconds_left = seconds_left
        self._lease = KeyLease()

    def begin(self, scope: Scope, *, is_replay: bool) -> None:
        """Load the tenant's key, without which no step may begin.

        Args:
            scope: The scope of the execution.
            is_replay: True if it has results already, which are going to be asked for.

        Raises:
            RetryableSerDesError: The key cannot be loaded now.
            SerDesError: It cannot be loaded at all.
        """
        with self._in_sdk_terms(), self._lease.active():
            if self._chain.loads_keys:
                run_eagerly(self._chain.load_keys(self.tenant))
            if is_replay:
                run_eagerly(self._chain.replaying(scope))

    def end(self) -> None:
        """Stop all work, drop the key, and log the savings. Lambda freezes the process next."""
        self._lease.end()
        if self._chain.offloads:
            run_blocking(self._chain.stop_prefetch())
        self.savings.report()

    def encode(self, text: str, scope: Scope, name: str, limit: int | None) -> str:
        """Return the text to checkpoint in place of ``text``. What it refers to is durable.

        Args:
            text: The value, serialized.
            scope: The scope that it belongs to.
            name: What it is, for the chain's rules.
            limit: Bytes that it may take in the checkpoint; None if the SDK itself helps where it is larger.

        Raises:
            RetryableSerDesError: It is too large for a checkpoint, and the store did not take it for as long as it could wait.
            SerDesError: It is too large, and no store ever will; or the chain does not accept it.
        """
        if self._chain.decode_only:
            return unmarked(text)
        data = text.encode(*_TEXT)
        with self._in_sdk_terms(), self._lease.active():
            written = self._encode(text, data, scope, name, limit)
        self.savings.add(len(data), len(written))
        return written

    def decode(self, text: str, scope: Scope, what: str) -> str:
        """Return the text that was encoded; ``text`` itself if no chain wrote it, and this one accepts that.

        Args:
            text: As it was checkpointed.
            scope: The scope that it belongs to.
            what: Its name in an error: "the result of a step".

        Raises:
            RetryableSerDesError: It cannot be read now.
            SerDesError: It was changed, belongs to somebody else, or is in the clear and must not be.
        """
        found = read(text)
        with self._in_sdk_terms(), self._lease.active():
            if isinstance(found, str):
                self._chain.check_plain(what)
                return found
            payload = run_eagerly(self._chain.decode(found, scope))
            try:
                return payload.decode(*_TEXT)
            except UnicodeDecodeError:
                raise FormatError(f"{what} is not text", "It was written by another integration.") from None

    def _encode(self, text: str, data: bytes, scope: Scope, name: str, limit: int | None) -> str:
        begun = self._chain.begin_upload(data, scope, name=name)
        written = self._written(begun, text, data, limit)
        if limit is None or len(written) <= limit:
            return written
        if not self._chain.offloads:
            raise LimitExceeded(
                f"a value takes {len(written)} bytes in a checkpoint, {limit} are allowed",
                "Add Offload(store) to the chain.",
            )
        # It stays inline by a rule, which cannot mean that the execution should end.
        return self._written(self._chain.begin_upload(data, scope, always=True, name=name), text, data, limit)

    def _written(self, begun: bytes | Upload, text: str, data: bytes, limit: int | None) -> str:
        if isinstance(begun, Upload):
            begun = begun.reference if begun.is_durable else run_blocking(self._store(begun, limit))
        return unmarked(text) if begun == data else marked(begun)

    async def _store(self, upload: Upload, limit: int | None) -> bytes:
        """Store the payload; if that fails, return it sealed, unless it is too large for a checkpoint.

        Whatever the reason: the step that made it is done, and must not run again.
        """
        while True:
            try:
                return await self._in_time(upload)
            except CoatcheckError as error:
                sealed = await upload.seal_inline()
                if limit is None or len(marked(sealed)) <= limit:
                    _log.warning(
                        "A value is checkpointed inline, since the store does not take it: %s", error
                    )
                    self.savings.not_taken()
                    return sealed
                left = 0.0 if self._seconds_left is None else self._seconds_left()
                if not error.retryable or left < _SPARE + _PAUSE:
                    raise
                _log.warning(
                    "An invocation waits for the store, since a value is too large for a checkpoint: %s",
                    error,
                )
                await asyncio.sleep(_PAUSE)

    async def _in_time(self, upload: Upload) -> bytes:
        left = None if self._seconds_left is None else self._seconds_left() - _SPARE
        try:
            async with asyncio.timeout(left):
                await upload.store()
        except TimeoutError:
            raise StoreUnavailable(
                "the store did not answer before the end of the invocation",
                "Give the function a longer timeout, or find out why the store is slow.",
            ) from None
        return upload.reference

    @contextmanager
    def _in_sdk_terms(self) -> Iterator[None]:
        try:
            yield
        except CoatcheckError as error:
            raise self._patience.sdk_error(error) from error
