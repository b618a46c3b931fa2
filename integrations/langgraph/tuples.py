"""Checkpoints as a graph hands them over, and as a saver keeps them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    EXCLUDED_METADATA_KEYS,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)

from coatcheck.chain import Chain
from coatcheck.format.shown import MARKER
from coatcheck.integrations.langgraph.metadata import ClearKeys, hidden, matches, shown
from coatcheck.integrations.langgraph.scopes import thread_scope
from coatcheck.integrations.langgraph.values import Place, Values, of_channel

_METADATA: Final = "metadata"
_PRIMITIVE: Final = (str, int, float, bool, type(None))
"""Types that some savers keep in the checkpoint itself, whether or not the channel has a new version."""


class Put(NamedTuple):
    """The arguments of a saver's ``put``."""

    config: RunnableConfig
    checkpoint: Checkpoint
    metadata: CheckpointMetadata
    new_versions: ChannelVersions


class Tuples:
    """Encodes and decodes checkpoints.

    Args:
        chain: Every value's path.
        tenant: The tenant that the threads belong to.
        values: Encodes and decodes what is in the checkpoints.
        clear: The keys of metadata that stay in the clear.
        saver: Keeps the checkpoints.
    """

    def __init__(
        self, chain: Chain, tenant: str, values: Values, clear: ClearKeys, saver: BaseCheckpointSaver[Any]
    ) -> None:
        self._chain = chain
        self._tenant = tenant
        self._values = values
        self._clear = clear
        self._shown = EXCLUDED_METADATA_KEYS | clear.keys | {spec.id for spec in saver.config_specs}

    async def seal(self, put: Put) -> Put:
        """Return the arguments with which the saver is to ``put``. All that they need is durable then.

        Raises:
            CoatcheckError: As :meth:`Values.seal`.
        """
        if self._chain.decode_only:
            return put
        config, checkpoint, metadata, new_versions = put
        of = _with_id(config, checkpoint["id"])
        values = checkpoint["channel_values"]
        versions = checkpoint["channel_versions"]
        clear, rest = self._clear.split(cast("Any", get_checkpoint_metadata(config, metadata)))
        todo: list[tuple[Place, str, Any]] = [
            (of_channel(of, name), _name(name), value) for name, value in values.items()
        ]
        if rest:
            todo.append((_metadata_place(of), _METADATA, rest))
        await self._begin(config)
        done = await self._values.seal(todo)
        if rest:
            clear |= shown(done.pop())
        sealed = dict(zip(values, done, strict=True))
        # What a saver keeps in the checkpoint itself if it is a number or a short text is an object now, of which it keeps
        # one for each version: also for what a checkpoint from before there was a chain has in the clear.
        kept = {
            name: versions[name]
            for name, value in values.items()
            if _is_primitive(value) and name in versions
        }
        return Put(
            self._told(config),
            cast("Checkpoint", {**checkpoint, "channel_values": sealed}),
            cast("CheckpointMetadata", clear),
            {**kept, **new_versions},
        )

    async def seal_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]]
    ) -> tuple[RunnableConfig, list[tuple[str, Any]]]:
        """Return the arguments with which the saver is to ``put_writes``. Raises as :meth:`seal`."""
        if self._chain.decode_only:
            return config, list(writes)
        done = await self._values.seal(
            [(of_channel(config, channel), _name(channel), value) for channel, value in writes]
        )
        return self._told(config), [
            (channel, value) for (channel, _), value in zip(writes, done, strict=True)
        ]

    async def open(
        self, found: CheckpointTuple, wanted: Mapping[str, Any] | None = None
    ) -> CheckpointTuple | None:
        """Return a checkpoint that a saver kept as the graph handed it over; None if its metadata is not as wanted.

        Args:
            found: From the saver.
            wanted: Conditions for its metadata.

        Raises:
            CoatcheckError: As :meth:`Values.open`.
        """
        of = _with_id(found.config, found.checkpoint["id"])
        metadata = await self._metadata(of, cast("Any", found.metadata))
        if wanted and not matches(metadata, wanted):
            return None
        values = found.checkpoint["channel_values"]
        writes = found.pending_writes or []
        opened = await self._values.open(
            [
                *((of_channel(of, name), value) for name, value in values.items()),
                *((of_channel(of, channel), value) for _, channel, value in writes),
            ]
        )
        return found._replace(
            checkpoint=cast(
                "Checkpoint",
                {**found.checkpoint, "channel_values": dict(zip(values, opened, strict=False))},
            ),
            metadata=cast("CheckpointMetadata", metadata),
            pending_writes=found.pending_writes
            and [
                (task, channel, value)
                for (task, channel, _), value in zip(writes, opened[len(values) :], strict=True)
            ],
        )

    async def open_history(
        self, config: RunnableConfig, found: Mapping[str, DeltaChannelHistory]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the history of channels that a saver kept as the graph handed it over. Raises as :meth:`open`."""
        opened: dict[str, DeltaChannelHistory] = {}
        for name, history in found.items():
            place = of_channel(config, name)
            seeds = [history["seed"]] if "seed" in history else []
            values = await self._values.open(
                [(place, value) for _, _, value in history["writes"]] + [(place, seed) for seed in seeds]
            )
            opened[name] = {
                "writes": [
                    (task, channel, value)
                    for (task, channel, _), value in zip(history["writes"], values, strict=False)
                ]
            }
            if seeds:
                opened[name]["seed"] = values[-1]
        return opened

    async def missed(self, config: RunnableConfig) -> None:
        """Take note that the saver has no such checkpoint: the thread was perhaps deleted by another process."""
        await self._begin(config)

    async def _begin(self, config: RunnableConfig) -> None:
        known = config["configurable"]
        if not known.get("checkpoint_ns") and not known.get("checkpoint_id"):
            await self._chain.beginning(thread_scope(self._tenant, known["thread_id"]))

    async def _metadata(self, of: RunnableConfig, metadata: dict[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in metadata.items() if key != MARKER}
        sealed = hidden(metadata)
        if self._clear.split(plain)[1]:
            self._chain.check_plain(f"{_metadata_place(of)}")
        if sealed is None:
            return plain
        [rest] = await self._values.open([(_metadata_place(of), sealed)])
        return {**plain, **rest}

    def _told(self, config: RunnableConfig) -> RunnableConfig:
        """Return what the saver is told of a config: savers add to the metadata what they find there."""
        return {
            "configurable": {
                key: value
                for key, value in config["configurable"].items()
                if key in self._shown or key.startswith("__")
            }
        }


def _name(channel: str) -> str:
    return f"channel:{channel}"


def _is_primitive(value: Any) -> bool:
    return isinstance(value, _PRIMITIVE)


def _metadata_place(config: RunnableConfig) -> Place:
    return of_channel(config, "")._replace(name=_METADATA)


def _with_id(config: RunnableConfig, checkpoint: str) -> RunnableConfig:
    return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint}}
