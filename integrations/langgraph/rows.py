"""Rows of a database that a saver wrote without a chain, encoded as one with a chain writes them.

A saver's own methods cannot do that in place: they leave a write, or the value of a version, that is there already.
"""

from collections.abc import Collection, Mapping
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from coatcheck.chain import Chain
from coatcheck.format.shown import MARKER
from coatcheck.integrations.langgraph.metadata import ClearKeys, shown
from coatcheck.integrations.langgraph.sealed import TYPE, ClaimCheckSerde
from coatcheck.integrations.langgraph.values import Place, Values

Row = tuple[str, bytes]
"""The columns of a row in which a value stands: its type and its bytes."""


class Rows:
    """Encodes the rows of one tenant's threads. What a row refers to is durable when a method returns it.

    Methods raise ``CoatcheckError`` as :meth:`Values.seal`, and what the serializer raises for a row that it cannot read.

    Args:
        chain: Every value's path.
        tenant: The tenant that the threads belong to.
        serde: The saver's own serializer.
        clear: As for :class:`ClaimCheckSaver`.
    """

    def __init__(
        self, chain: Chain, tenant: str, serde: SerializerProtocol, clear: Collection[str] = ()
    ) -> None:
        self._serde = ClaimCheckSerde(serde)
        self._values = Values(chain, tenant, self._serde)
        self._clear = ClearKeys(clear)

    @staticmethod
    def is_encoded(row: Row) -> bool:
        """Return True if a row is as a saver with a chain writes it."""
        return row[0].partition(":")[0] == TYPE

    async def value(self, thread: str, checkpoint: str, channel: str, row: Row) -> Row:
        """Return the row of a write, or of the value of one channel.

        Args:
            thread: The thread's ID.
            checkpoint: The checkpoint's ID, for errors.
            channel: The channel's name.
            row: As it stands in the database.
        """
        if self.is_encoded(row):
            return row
        todo = (Place.of(thread, checkpoint, channel), f"channel:{channel}", self._serde.loads_typed(row))
        [sealed] = await self._values.seal([todo])
        return self._serde.dumps_typed(sealed)

    async def checkpoint(self, thread: str, row: Row) -> Row:
        """Return the row of a checkpoint in which the values of its channels stand, as in SQLite.

        Args:
            thread: The thread's ID.
            row: As it stands in the database.
        """
        if self.is_encoded(row):
            return row
        found = self._serde.loads_typed(row)
        values = found["channel_values"]
        sealed = await self._values.seal(
            [
                (Place.of(thread, found["id"], channel), f"channel:{channel}", value)
                for channel, value in values.items()
            ]
        )
        return self._serde.dumps_typed({**found, "channel_values": dict(zip(values, sealed, strict=True))})

    async def metadata(self, thread: str, checkpoint: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of a checkpoint.

        Args:
            thread: The thread's ID.
            checkpoint: The checkpoint's ID, for errors.
            metadata: As they stand in the database.
        """
        clear, rest = self._clear.split(metadata)
        if MARKER in rest or not rest:
            return dict(metadata)
        place = Place(thread, checkpoint, "metadata")
        [sealed] = await self._values.seal([(place, "metadata", rest)])
        return {**clear, **shown(sealed)}
