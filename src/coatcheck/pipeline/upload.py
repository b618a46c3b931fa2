"""An upload that was begun in a hook that cannot await a store."""

from coatcheck.pipeline.encode import Draft, Encoder
from coatcheck.pipeline.store import Uploader
from coatcheck.runtime.concurrency import ENCODE_INLINE_UP_TO, off_loop
from coatcheck.telemetry import counting_errors


class Upload:
    """A payload that is to be stored, from :meth:`Chain.begin_upload`. For one event loop.

    The reference must not leave the process before :meth:`store` has returned.
    """

    def __init__(self, draft: Draft, encoder: Encoder, uploader: Uploader) -> None:
        self.payload = draft.payload
        self.reference = draft.reference(())
        """The reference to journal. It lists no bases, so it is the same on each attempt, whatever bases exist by then;
        readers learn them from the object."""
        self._draft = draft
        self._encoder = encoder
        self._uploader = uploader

    @property
    def is_durable(self) -> bool:
        """True if the object is known to be in the store, so that :meth:`store` makes no request."""
        return self._draft.known_bases() is not None

    async def store(self) -> None:
        """Make the object durable. Can be called again after a failure.

        Raises:
            StoreError: The store cannot or will not take it.
        """
        with counting_errors("encode"):
            await self._uploader.wait_and_store(self._draft)

    async def seal_inline(self) -> bytes:
        """Return the payload's envelope, to journal instead of the reference if the store fails."""
        sealing = self._draft.scope.sealing
        return await off_loop(
            len(self.payload), ENCODE_INLINE_UP_TO, self._encoder.seal_inline, self.payload, sealing
        )
