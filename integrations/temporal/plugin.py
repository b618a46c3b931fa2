"""The plug-in that adds the codec to a client, a worker or a replayer."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.client import ClientConfig
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    ExternalStorage,
    PayloadCodec,
    StorageDriver,
)
from temporalio.plugin import SimplePlugin
from temporalio.worker import ReplayerConfig, WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from coatcheck.chain import Chain
from coatcheck.errors import ConfigError
from coatcheck.integrations.temporal.attempts import AttemptInterceptor
from coatcheck.integrations.temporal.codec import ClaimCheckCodec, Mode
from coatcheck.integrations.temporal.completions import CompletionInterceptor
from coatcheck.integrations.temporal.failures import ClaimCheckFailureConverter
from coatcheck.integrations.temporal.migration.read_also import OfNamespace
from coatcheck.integrations.temporal.names import NameInterceptor
from coatcheck.integrations.temporal.native import ClaimCheckDriver
from coatcheck.integrations.temporal.passing import PassingInterceptor, WorkerInterceptor
from coatcheck.integrations.temporal.schedules import ScheduleInterceptor
from coatcheck.scope import Scope

_NO_NAMESPACE = "ReplayNamespace"
"""The SDK's name for the namespace of a ``Replayer`` without one. Nothing was ever sealed for it."""
_PASSED_THROUGH: Final = ("coatcheck", "cryptography")
"""Modules that the sandbox passes through. If a process loads it twice, ``cryptography`` breaks."""
_Reader = TypeVar("_Reader")
_OF_CLIENTS: Final = (CompletionInterceptor, NameInterceptor, PassingInterceptor, ScheduleInterceptor)
_FAILURES_TO_REPLACE: Final = (DefaultFailureConverter, DefaultFailureConverterWithEncodedAttributes)


class ClaimCheckPlugin(SimplePlugin):
    """Takes payloads out of Temporal's history: ``Client.connect(..., plugins=[ClaimCheckPlugin(chain)])``.

    A worker made from that client has it too; a ``Replayer`` takes it in its own ``plugins``, and replays histories
    of its own ``namespace=``, or, where it is given none, of the namespace that this plug-in last connected to
    (``default`` before that). It composes with plug-ins that set a payload converter (pydantic, OpenAI agents).
    It comes last: a plug-in after it that sets a data converter of its own takes the codec away. A worker notices that;
    a client without a worker has no way to. See :func:`wrap_data_converter`.

    Codec mode is the default because it is the smaller and the faster of the two. 100 activities with results of 50 kB
    come to 83 kB of history, in native mode to 98 kB; a process that has nothing yet replays them in 0.34 s, in native
    mode in 0.37 s (0.45 s and 0.47 s with a store that is 50 ms away; both make the same requests). What native mode
    has to offer is that Temporal knows what is outside: the server counts it, and its tools show it with its size.

    Args:
        chain: Every payload's path.
        mode: Form in which references to large payloads are written; both are always read.
        read_also: Readers of other formats; see :func:`wrap_data_converter`.
        nexus_namespaces: Namespaces whose payloads arrive by Nexus; see :func:`wrap_data_converter`.

    Raises:
        ConfigError: On connecting, where the client's data converter already has a codec or external storage.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        mode: Mode = "codec",
        read_also: Sequence[StorageDriver | PayloadCodec] = (),
        nexus_namespaces: Collection[str] = (),
    ) -> None:
        super().__init__("coatcheck.ClaimCheckPlugin", workflow_runner=_passing_coatcheck_through)
        self._chain = chain
        self._mode: Mode = mode
        self._read_also = tuple(read_also)
        self._nexus_namespaces = tuple(nexus_namespaces)
        self._namespace = "default"

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Called by the SDK."""
        config = super().configure_client(config)
        self._namespace = config.get("namespace", "default")
        converter = self._wrap(config.get("data_converter"), self._namespace)
        config["data_converter"] = converter
        # A client that is made from another one's configuration has that one's.
        others = [one for one in config.get("interceptors", ()) if not isinstance(one, _OF_CLIENTS)]
        config["interceptors"] = [
            *others,
            ScheduleInterceptor(),
            PassingInterceptor(),
            NameInterceptor(),
            CompletionInterceptor(converter, self._namespace),
        ]
        return config

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Called by the SDK.

        Raises:
            ConfigError: The client does not have this plug-in, or a plug-in after it has replaced the data converter.
        """
        config = super().configure_worker(config)
        client = config.get("client")
        codec = client.data_converter.payload_codec if client is not None else None
        if client is None or not isinstance(codec, ClaimCheckCodec):
            raise _without_codec(client.config()["plugins"] if client is not None else ())
        config["interceptors"] = [
            *config.get("interceptors", ()),
            WorkerInterceptor(codec.notes),
            AttemptInterceptor(codec.attempts, codec.namespace),
        ]
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Called by the SDK."""
        config = super().configure_replayer(config)
        namespace = config.get("namespace", _NO_NAMESPACE)
        if namespace == _NO_NAMESPACE:
            namespace = config["namespace"] = self._namespace
        converter = self._wrap(config.get("data_converter"), namespace)
        # What a replay says goes to nobody but its caller, who could not read it if it were encoded.
        if issubclass(converter.failure_converter_class, _FAILURES_TO_REPLACE):
            converter = replace(converter, failure_converter_class=DefaultFailureConverter)
        config["data_converter"] = converter
        codec = converter.payload_codec
        assert isinstance(codec, ClaimCheckCodec)
        config["interceptors"] = [*config.get("interceptors", ()), WorkerInterceptor(codec.notes)]
        return config

    def _wrap(self, converter: DataConverter | None, namespace: str) -> DataConverter:
        return wrap_data_converter(
            converter or DataConverter.default,
            self._chain,
            namespace=namespace,
            mode=self._mode,
            read_also=self._read_also,
            nexus_namespaces=self._nexus_namespaces,
        )


def _without_codec(plugins: Iterable[object]) -> ConfigError:
    if any(isinstance(plugin, ClaimCheckPlugin) for plugin in plugins):
        return ConfigError(
            "another plug-in has replaced the data converter: payloads would be sent unsealed",
            "Put ClaimCheckPlugin last in the client's plugins.",
        )
    return ConfigError(
        "ClaimCheckPlugin was given to a worker whose client has no chain: payloads would be sent unsealed",
        "Give it to the client: Client.connect(..., plugins=[ClaimCheckPlugin(chain)]). Workers made from that client "
        "have it too, and need no plugins of their own.",
    )


def wrap_data_converter(
    converter: DataConverter,
    chain: Chain,
    *,
    namespace: str = "default",
    mode: Mode = "codec",
    read_also: Sequence[StorageDriver | PayloadCodec] = (),
    nexus_namespaces: Collection[str] = (),
) -> DataConverter:
    """Return the converter with the chain as its codec, and with the storage that reads native references.

    Its payload converter is kept. If the chain encrypts, the default failure converter is exchanged for the one
    that encodes messages and stack traces, which would else reach the server in the clear.

    Only :class:`ClaimCheckPlugin` notices schedules: without it, workflows cannot read the input that a schedule gives
    them. Nor are heartbeats, queries and completions by ID treated specially, and an activity does not keep its key
    until its result is sealed.

    From the first call on, sandboxes with the SDK's default restrictions pass coatcheck through, so that the file that
    calls this may have workflows in it as well.

    Args:
        converter: What the client used so far. One that was wrapped with the same arguments before is given back, for
            this namespace.
        chain: Every payload's path.
        namespace: The tenant of payloads that come without a context (Nexus, for one).
        mode: How references to large payloads are written; both kinds are always read.
        read_also: Drivers and codecs that wrote the payloads of histories that are still open, or are replayed.
            They read; nothing is written with them. Where they read must be confined: a history is not trusted.
            Ours are: :class:`~coatcheck.integrations.temporal.S3DriverReader`,
            :class:`~coatcheck.integrations.temporal.GCSDriverReader` and
            :class:`~coatcheck.integrations.temporal.DataDogReader`.
        nexus_namespaces: The namespaces at the other end of Nexus operations. Each side names the other, and both have
            the same stores under the same aliases, and the same keys. What is written is always sealed for one's own
            namespace; theirs is opened only where Temporal names no workflow, so the payloads of workflows and
            activities are bound as tightly as without.

    Raises:
        ConfigError: ``converter`` already has another codec, or external storage; two of ``read_also`` go by one
            name; there is no such mode; the chain takes only what is sealed, and ``read_also`` is not empty.
    """
    chain.check_readers(read_also)
    readers = _within(namespace, read_also)
    codec = ClaimCheckCodec(
        chain,
        Scope(namespace),
        mode=mode,
        read_also=[reader for reader in readers if isinstance(reader, PayloadCodec)],
        nexus_namespaces=nexus_namespaces,
    )
    storage = _storage(
        [ClaimCheckDriver(), *(reader for reader in readers if isinstance(reader, StorageDriver))]
    )
    _let_sandboxes_pass_coatcheck_through()
    existing = converter.payload_codec
    if isinstance(existing, ClaimCheckCodec) and _is_same(converter, existing, codec, storage):
        if existing.namespace == namespace:
            return converter
        return replace(converter, payload_codec=codec, external_storage=storage)
    if existing is not None:
        raise ConfigError(
            f"the data converter already has the codec {type(existing).__name__}",
            "Two codecs would wrap each other's payloads: keep one. The chain can include it as a Codec.",
        )
    if converter.external_storage is not None:
        raise ConfigError(
            "the data converter already has external storage",
            "Use coatcheck's Offload in its place, and read_also=... for existing payloads.",
        )
    failure_converter = converter.failure_converter_class
    if chain.encrypts and failure_converter in _FAILURES_TO_REPLACE:
        failure_converter = ClaimCheckFailureConverter
    return replace(
        converter,
        payload_codec=codec,
        external_storage=storage,
        failure_converter_class=failure_converter,
    )


def _within(namespace: str, readers: Iterable[_Reader]) -> list[_Reader]:
    return [one.within(namespace) if isinstance(one, OfNamespace) else one for one in readers]


def _storage(drivers: Sequence[StorageDriver]) -> ExternalStorage:
    try:
        return ExternalStorage(drivers, _store_nothing)
    except ValueError as error:
        raise ConfigError(
            f"read_also cannot be used: {error}".rstrip("."), "Give each a name of its own."
        ) from error


def _is_same(
    converter: DataConverter, existing: ClaimCheckCodec, codec: ClaimCheckCodec, storage: ExternalStorage
) -> bool:
    """Tell if the converter was wrapped with the same arguments, perhaps for another namespace."""
    there = converter.external_storage
    return (
        there is not None
        and existing.agrees_with(codec)
        and _within(codec.namespace, existing.read_also) == list(codec.read_also)
        and there == _storage(there.drivers)
        and _storage(_within(codec.namespace, there.drivers)) == storage
    )


def _let_sandboxes_pass_coatcheck_through() -> None:
    """Make sandboxes with the SDK's own restrictions pass coatcheck through: of workers that have no plug-in, only their defaults can be reached."""
    SandboxRestrictions.default.passthrough_modules.update(_PASSED_THROUGH)


def _passing_coatcheck_through(runner: WorkflowRunner | None) -> WorkflowRunner:
    """Make the sandbox pass this package through: a file that makes a chain may have workflows in it as well."""
    runner = runner or SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules(*_PASSED_THROUGH))


def _store_nothing(context: object, payload: Payload) -> None:
    """The SDK's storage step only reads: see :mod:`coatcheck.integrations.temporal.native`."""
