"""The encoded values in what a saver keeps, without a look at the payloads."""

from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.integrations.langgraph.metadata import hidden
from coatcheck.integrations.langgraph.sealed import Sealed, mapped


def sealed_in(found: CheckpointTuple) -> list[Sealed]:
    """Return all encoded values of a checkpoint and of its writes.

    Args:
        found: From a saver whose serializer is :class:`ClaimCheckSerde`.

    Raises:
        FormatError: Its metadata are damaged.
    """
    values: list[Sealed] = []

    def note(item: Any) -> Any:
        if isinstance(item, Sealed):
            values.append(item)
        return item

    for value in found.checkpoint["channel_values"].values():
        mapped(value, note)
    for _, _, value in found.pending_writes or ():
        mapped(value, note)
    note(hidden(found.metadata))
    return values


def references_in(found: CheckpointTuple) -> Iterator[Reference]:
    """Yield all references of a checkpoint and of its writes. Raises as :func:`sealed_in`, and for a damaged reference."""
    for value in sealed_in(found):
        if is_ours(value.data) and is_reference(value.data):
            yield Reference.from_bytes(value.data)
