"""Temporal's own references to external storage, as this package writes and reads them.

In native mode the codec journals a large payload as Temporal's ``ExternalStorageReference``, with its true size beside
it, so that the server counts it and every tool that knows external storage shows it as such. The reference is
written by the codec, not by the SDK's storage step, for three reasons:

- The storage step runs after the codec. What it is to store must leave the codec as it is, and would reach the server in
  the clear wherever the SDK calls the codec and not the storage, now or in another release. From this codec nothing
  comes out that is not sealed, whatever runs after it.
- The storage step is not told whose payload it is: for an activity it has the activity's ID and no workflow ID, for the
  result of a child the parent's. The codec is told, and what is sealed here is bound to it.
- The storage step takes the size of what it is handed. Handed a reference, it would state the size of that.

On the way back the storage step comes first. :class:`ClaimCheckDriver` turns Temporal's reference into the codec's own,
without any I/O, and the codec, which knows the run, verifies it and fetches what it stands for. So both modes read
through one path, and each reads what the other wrote. Where there is no storage step, as in a codec server, the codec
reads Temporal's reference itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import (
    JSONProtoPayloadConverter,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from coatcheck.errors import ConfigError, FormatError
from coatcheck.format.reference import Reference

DRIVER = "coatcheck"
"""The name and the type of the driver in every native reference."""
ENCODING = b"binary/coatcheck"
"""The ``encoding`` in the metadata of the codec's payloads, except native references."""

_CLAIM = "reference"
_MESSAGE_TYPE = ExternalStorageReference.DESCRIPTOR.full_name.encode()
_NATIVE_ENCODING = b"json/protobuf"
_CONVERTER = JSONProtoPayloadConverter()


@dataclass(frozen=True)
class ClaimCheckDriver(StorageDriver):
    """Reads native references, by handing the codec its own form of them. Does no I/O, trusts nothing, stores nothing.

    Safe to use from any number of event loops and threads.
    """

    def name(self) -> str:
        """Name of the driver in references."""
        return DRIVER

    def type(self) -> str:
        """Type of the driver that workers report to the server."""
        return DRIVER

    async def store(
        self,
        context: StorageDriverStoreContext,  # noqa: ARG002 - the SDK's signature
        payloads: Sequence[Payload],  # noqa: ARG002 - the SDK's signature
    ) -> NoReturn:
        """Refuse to store. Never called by the SDK, which is told to store nothing: :class:`~coatcheck.integrations.temporal.codec.ClaimCheckCodec` stores.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "the coatcheck driver was asked to store without its codec",
            "Use ClaimCheckPlugin or wrap_data_converter, which set up both.",
        )

    async def retrieve(
        self,
        context: StorageDriverRetrieveContext,  # noqa: ARG002 - the SDK's signature
        claims: Sequence[StorageDriverClaim],
    ) -> list[Payload]:
        """Return the payload for the codec in place of each; same length and order as ``claims``.

        Raises:
            FormatError: A claim holds no reference of a version known here.
        """
        return [_codec_form(Reference.from_text(claim.claim_data.get(_CLAIM, ""))) for claim in claims]


def to_native(reference: Reference) -> Payload:
    """Return the payload that represents ``reference`` in the history: the same bytes for the same reference."""
    message = ExternalStorageReference(driver_name=DRIVER, claim_data={_CLAIM: reference.to_text()})
    payload = _CONVERTER.to_payload(message)
    assert payload is not None
    payload.external_payloads.add().size_bytes = reference.size
    return payload


def is_external(payload: Payload) -> bool:
    """Tell if the payload is a reference of Temporal's own kind, by any driver. On some paths the server drops its size."""
    metadata = payload.metadata
    return (metadata.get("encoding"), metadata.get("messageType")) == (_NATIVE_ENCODING, _MESSAGE_TYPE)


def from_native(payload: Payload) -> Payload | None:
    """Return the payload that the codec decodes in place of a native reference of ours; None if it is not one.

    Raises:
        FormatError: It names our driver, and holds no reference of a version known here.
    """
    if not is_external(payload):
        return None
    try:
        message = _CONVERTER.from_payload(payload, ExternalStorageReference)
    except (RuntimeError, ValueError) as error:
        raise FormatError(
            "malformed native reference", "It was damaged, or written by something else."
        ) from error
    if message.driver_name != DRIVER:
        return None
    return _codec_form(Reference.from_text(message.claim_data.get(_CLAIM, "")))


def is_native(payload: Payload) -> bool:
    """Tell if the payload is exactly what :func:`to_native` makes of some reference, and so has nothing else in it."""
    try:
        own = from_native(payload)
    except FormatError:
        return False
    return own is not None and to_native(Reference.from_bytes(own.data)) == payload


def _codec_form(reference: Reference) -> Payload:
    return Payload(metadata={"encoding": ENCODING}, data=reference.to_bytes())
