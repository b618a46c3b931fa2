"""Rows of a database that a saver wrote without a chain, encoded as one with a chain writes them.

A saver's own methods cannot do that in place: they leave a write, or the value of a version, that is there already.
No object is made of a value: its bytes become the payload as they are, so that it need not be known what they mean.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from coatcheck.chain import Chain
from coatcheck.errors import ConfigError, FormatError, IntegrityError
from coatcheck.format.shown import MARKER
from coatcheck.integrations.langgraph.metadata import ClearKeys, shown
from coatcheck.integrations.langgraph.sealed import TYPE, ClaimCheckSerde
from coatcheck.integrations.langgraph.values import Place, Values

Row = tuple[str, bytes]
"""The columns of a row in which a value stands: its type and its bytes."""

_CHANNELS: Final = "channel_values"
_OPTIONS: Final = ormsgpack.OPT_NON_STR_KEYS
_EXTENSIONS: Final = {bytes((code,)) for code in (0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8)}
"""The first bytes of msgpack's extensions, of all lengths."""


class Rows:
    """Encodes the rows of one tenant's threads. What a row refers to is durable when a method returns it.

    Methods raise ``CoatcheckError`` as :meth:`Values.seal`, and ``FormatError`` or ``IntegrityError`` for a row that they
    cannot read.

    Args:
        chain: Every value's path.
        tenant: The tenant that the threads belong to.
        serde: The saver's own serializer.
        clear: As for :class:`ClaimCheckSaver`.

    Raises:
        ConfigError: The chain writes nothing, or it does not encrypt and ``serde`` does.
    """

    def __init__(
        self, chain: Chain, tenant: str, serde: SerializerProtocol, clear: Collection[str] = ()
    ) -> None:
        self._serde = ClaimCheckSerde(serde)
        self._cipher = serde.cipher if isinstance(serde, EncryptedSerializer) else None
        if chain.decode_only:
            raise ConfigError("a decode_only chain cannot write", "Use a chain without decode_only.")
        if self._cipher is not None and not chain.encrypts:
            raise ConfigError(
                "the saver encrypts, and the chain does not", "Add Encrypt(keyring) to the chain."
            )
        self._values = Values(chain, tenant, _Packed(serde))
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
        place = Place.of(thread, checkpoint, channel)
        part = _part(*self._plain(row, place))
        [sealed] = await self._values.seal([(place, f"channel:{channel}", part.payload)])
        return self._serde.dumps_typed(part.around(sealed))

    async def simple(self, thread: str, checkpoint: str, channel: str, value: Any) -> Row:
        """Return the row of a value that a saver keeps as JSON, in the checkpoint itself.

        Args:
            thread: The thread's ID.
            checkpoint: The checkpoint's ID, for errors.
            channel: The channel's name.
            value: A number, a text or None.
        """
        place = Place.of(thread, checkpoint, channel)
        [sealed] = await self._values.seal([(place, f"channel:{channel}", self._serde.pack(value))])
        return self._serde.dumps_typed(sealed)

    def has_values(self, thread: str, checkpoint: str, row: Row) -> bool:
        """Return True if values that are not encoded stand in the row of a checkpoint, as in SQLite.

        Args:
            thread: The thread's ID.
            checkpoint: The checkpoint's ID, for errors.
            row: As it stands in the database.
        """
        if self.is_encoded(row):
            return False
        place = Place(thread, checkpoint, "values")
        return bool(_opened(*self._plain(row, place), place)[_CHANNELS])

    async def checkpoint(self, thread: str, checkpoint: str, row: Row) -> Row:
        """Return the row of a checkpoint in which the values of its channels stand, as in SQLite.

        Args:
            thread: The thread's ID.
            checkpoint: The checkpoint's ID, for errors.
            row: As it stands in the database.
        """
        if self.is_encoded(row):
            return row
        place = Place(thread, checkpoint, "values")
        kind, data = self._plain(row, place)
        found = _opened(kind, data, place)
        parts = {name: _part(kind, _closed(kind, value)) for name, value in found[_CHANNELS].items()}
        sealed = await self._values.seal(
            [
                (Place.of(thread, checkpoint, channel), f"channel:{channel}", part.payload)
                for channel, part in parts.items()
            ]
        )
        rest = found if kind == "msgpack" else self._serde.bare.loads_typed((kind, data))
        values = {name: part.around(value) for (name, part), value in zip(parts.items(), sealed, strict=True)}
        return self._serde.dumps_typed({**rest, _CHANNELS: values}) if values else row

    def has_metadata(self, metadata: Mapping[str, Any]) -> bool:
        """Return True if there is something in the metadata of a checkpoint that is to be encoded.

        Args:
            metadata: As they stand in the database.
        """
        rest = self._clear.split(metadata)[1]
        return bool(rest) and MARKER not in rest

    async def metadata(self, thread: str, checkpoint: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of a checkpoint.

        Args:
            thread: The thread's ID.
            checkpoint: The checkpoint's ID, for errors.
            metadata: As they stand in the database.
        """
        if not self.has_metadata(metadata):
            return dict(metadata)
        clear, rest = self._clear.split(metadata)
        place = Place(thread, checkpoint, "metadata")
        [sealed] = await self._values.seal([(place, "metadata", self._serde.pack(rest))])
        return {**clear, **shown(sealed)}

    def _plain(self, row: Row, place: Place) -> Row:
        """Return a row without the encryption of LangGraph's ``EncryptedSerializer``."""
        kind, encrypted, cipher = row[0].partition("+")
        if not encrypted:
            return kind, bytes(row[1])
        if self._cipher is None:
            raise ConfigError(
                f"{place}: encrypted by LangGraph's EncryptedSerializer ({cipher})",
                "Set LANGGRAPH_AES_KEY to the key that the graphs use.",
            )
        try:
            return kind, self._cipher.decrypt(cipher, bytes(row[1]))
        except Exception:  # noqa: BLE001 - ciphers are anybody's
            raise IntegrityError(
                f"{place}: not encrypted by the cipher of the serializer", "Check LANGGRAPH_AES_KEY."
            ) from None


class _Packed(ClaimCheckSerde):
    """A serializer of values that are payloads already."""

    def pack(self, value: Any) -> bytes:
        assert isinstance(value, bytes)
        return value


class _Part(NamedTuple):
    payload: bytes
    is_snapshot: bool

    def around(self, sealed: Any) -> Any:
        return _DeltaSnapshot(sealed) if self.is_snapshot else sealed


def _part(kind: str, data: bytes) -> _Part:
    """Return the payload of a value; that of a ``DeltaChannel``'s snapshot is the value in it."""
    if kind == "msgpack":
        found = _snapshot(data)
        if found is not None:
            return _Part(b"msgpack\0" + found, is_snapshot=True)
    return _Part(kind.encode() + b"\0" + data, is_snapshot=False)


def _snapshot(data: bytes) -> bytes | None:
    inner: list[bytes] = []

    def note(code: int, content: bytes) -> None:
        if code == EXT_DELTA_SNAPSHOT:
            inner.append(content)

    if data[:1] in _EXTENSIONS:
        with suppress(ormsgpack.MsgpackDecodeError):
            ormsgpack.unpackb(data, ext_hook=note, option=_OPTIONS)
    return inner[0] if inner else None


def _opened(kind: str, data: bytes, place: Place) -> dict[str, Any]:
    """Return a checkpoint, with all that is not a list, a map, a text or a number in it as it stands there."""
    found: Any = None
    # MsgpackDecodeError is a ValueError.
    with suppress(ValueError):
        if kind == "json":
            found = json.loads(data)
        elif kind == "msgpack":
            found = ormsgpack.unpackb(data, ext_hook=ormsgpack.Ext, option=_OPTIONS)
            if ormsgpack.packb(found, option=_OPTIONS) != data:
                raise FormatError(
                    f"{place}: cannot be taken apart without a change", "Leave the thread as it is."
                )
    if not isinstance(found, dict) or not isinstance(found.get(_CHANNELS), dict):
        raise FormatError(
            f"{place}: rows of the type {kind!r} cannot be taken apart", "Leave the thread as it is."
        )
    return found


def _closed(kind: str, value: Any) -> bytes:
    """Return the bytes of a value of :func:`_opened`."""
    return json.dumps(value).encode() if kind == "json" else ormsgpack.packb(value, option=_OPTIONS)
