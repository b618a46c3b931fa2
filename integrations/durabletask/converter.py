"""Small payloads: the SDK shows a payload store only large ones, but a data converter every value."""

from typing import Any, Protocol

from durabletask.payload import LargePayloadStorageOptions
from durabletask.serialization import DataConverter, JsonDataConverter

from coatcheck.errors import LimitExceeded


class SealingStore(Protocol):
    """The payload store that takes what is large."""

    @property
    def options(self) -> LargePayloadStorageOptions:
        """Its threshold and its largest payload."""
        ...

    def seal_value(self, text: str) -> str:
        """Return what replaces a small payload."""
        ...

    def open_value(self, text: str) -> str:
        """Return the payload that ``text`` stands for, or ``text`` itself."""
        ...

    def is_known_token(self, value: str) -> bool:
        """Return True for a token or a sealed value."""
        ...


class SealingConverter(DataConverter):
    """Seals what is too small for a payload store, and fails a step whose result is too large for it.

    Without it, small payloads stand in histories in the clear, and the SDK never delivers what is too large.

    Args:
        store: The payload store of the same worker or client.
        inner: The converter that makes text of values; by default the SDK's JSON.
    """

    def __init__(self, store: SealingStore, inner: DataConverter | None = None) -> None:
        self._store = store
        self._inner = inner or JsonDataConverter()

    def serialize(self, value: Any) -> str | None:
        """Return the value as text, sealed unless the payload store takes it.

        Raises:
            LimitExceeded: The text is larger than the chain's ``max_payload``.
            CoatcheckError: The tenant's key cannot be had.
        """
        text = self._inner.serialize(value)
        if not text:
            return text
        size, options = len(text.encode()), self._store.options
        if size > options.max_stored_payload_bytes:
            raise LimitExceeded(
                f"a payload has {size:,} bytes, more than the chain's {options.max_stored_payload_bytes:,}",
                "Return less, or raise max_payload everywhere.",
            )
        if size > options.threshold_bytes and not self._store.is_known_token(text):
            return text
        return self._store.seal_value(text)

    def deserialize(self, data: str | None, target_type: type | None = None) -> Any:
        """Return the value, also of a token that the SDK has not exchanged.

        Raises:
            CoatcheckError: As :meth:`Chain.open`.
        """
        return self._inner.deserialize(self._store.open_value(data) if data else data, target_type)

    def coerce(self, value: Any, target_type: type | None = None) -> Any:
        """Coerce as the inner converter does."""
        return self._inner.coerce(value, target_type)

    def can_reconstruct(self, target_type: Any) -> bool:
        """Answer as the inner converter does."""
        return self._inner.can_reconstruct(target_type)
