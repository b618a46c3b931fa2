"""Putting the codec into a client, a worker or a replayer."""

from dataclasses import replace

from temporalio.client import ClientConfig
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
)
from temporalio.plugin import SimplePlugin
from temporalio.worker import ReplayerConfig

from coatcheck.chain import Chain
from coatcheck.errors import ConfigError
from coatcheck.integrations.temporal.codec import ClaimCheckCodec
from coatcheck.scope import Scope

_NO_NAMESPACE = "ReplayNamespace"
"""What the SDK calls the namespace of a ``Replayer`` that was given none. Nothing was ever sealed for it."""


class ClaimCheckPlugin(SimplePlugin):
    """Takes payloads out of Temporal's history: ``Client.connect(..., plugins=[ClaimCheckPlugin(chain)])``.

    A worker made from that client has it too; a ``Replayer`` takes it in its own ``plugins``, and replays histories
    of its own ``namespace=``, or, where it is given none, of the namespace that this plug-in last connected to
    (``default`` before that). It composes with plug-ins that set a payload converter (pydantic, OpenAI agents).
    See :func:`wrap_data_converter`.

    Args:
        chain: Every payload's path.

    Raises:
        ConfigError: On connecting, where the client's data converter already has a codec or external storage.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__("coatcheck.ClaimCheckPlugin")
        self._chain = chain
        self._namespace = "default"

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Called by the SDK."""
        config = super().configure_client(config)
        self._namespace = config.get("namespace", "default")
        config["data_converter"] = self._wrap(config.get("data_converter"))
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Called by the SDK."""
        config = super().configure_replayer(config)
        if config.get("namespace") == _NO_NAMESPACE:
            config["namespace"] = self._namespace
        config["data_converter"] = self._wrap(config.get("data_converter"))
        return config

    def _wrap(self, converter: DataConverter | None) -> DataConverter:
        return wrap_data_converter(converter or DataConverter.default, self._chain, namespace=self._namespace)


def wrap_data_converter(
    converter: DataConverter, chain: Chain, *, namespace: str = "default"
) -> DataConverter:
    """The same converter, with the chain as its codec.

    Its payload converter is kept. If the chain encrypts, the default failure converter is exchanged for the one
    that encodes messages and stack traces, which would else reach the server in the clear.

    Args:
        converter: What the client used so far; wrapping it twice with one chain changes nothing.
        chain: Every payload's path.
        namespace: The tenant of payloads that come without a context (Nexus, for one).

    Raises:
        ConfigError: ``converter`` already has another codec, or external storage.
    """
    existing = converter.payload_codec
    if isinstance(existing, ClaimCheckCodec) and existing.chain is chain:
        return converter
    if existing is not None:
        raise ConfigError(
            f"the data converter already has the codec {type(existing).__name__}",
            "Two codecs would wrap each other's payloads: keep one. A chain can take its place as a Codec.",
        )
    if converter.external_storage is not None:
        raise ConfigError(
            "the data converter already has external storage",
            "Use either the SDK's external storage or coatcheck's Offload, not both.",
        )
    failure_converter = converter.failure_converter_class
    if chain.encrypts and failure_converter is DefaultFailureConverter:
        failure_converter = DefaultFailureConverterWithEncodedAttributes
    return replace(
        converter,
        payload_codec=ClaimCheckCodec(chain, Scope(namespace)),
        failure_converter_class=failure_converter,
    )
