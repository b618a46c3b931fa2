"""A saver of checkpoints whose values go through a chain."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, nullcontext
from copy import copy
from functools import lru_cache
from typing import Any, Self, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from coatcheck.chain import Chain
from coatcheck.errors import ConfigError
from coatcheck.integrations.langgraph.metadata import ClearKeys
from coatcheck.integrations.langgraph.references import references_in
from coatcheck.integrations.langgraph.scopes import thread_scope
from coatcheck.integrations.langgraph.sealed import ClaimCheckSerde
from coatcheck.integrations.langgraph.tuples import Put, Tuples
from coatcheck.integrations.langgraph.values import Values
from coatcheck.runtime.portal import run_blocking, run_eagerly

_OPTIONAL = ("copy_thread", "delete_for_runs", "prune")
"""Methods that not every saver has."""


class ClaimCheckSaver(BaseCheckpointSaver[Any]):
    """Takes the values of graphs out of a saver's database: ``graph.compile(checkpointer=ClaimCheckSaver(saver, chain))``.

    Graphs stay as they are. Each method does what the saver's own does, the asynchronous ones by its asynchronous ones.
    ``docs/langgraph.md`` says what is encoded where, and in which scope.

    Args:
        saver: Keeps the checkpoints. It stays as it is, and reads nothing that this one wrote.
        chain: Every value's path.
        tenant: Whose threads they are: what was written for one tenant is opened for no other.
        clear: Keys of metadata that stay in the clear, beside those that savers need, so that the database can filter by them.

    Raises:
        ConfigError: ``tenant`` is empty, ``saver`` is one of these already, or it encrypts and the chain does not.
    """

    def __new__(cls, saver: BaseCheckpointSaver[Any] | None = None, *_: Any, **__: Any) -> Self:
        """Make a saver that has those of the optional methods that ``saver`` has: callers look for them in the class."""
        missing = [
            name
            for method in _OPTIONAL
            for name in (method, f"a{method}")
            if getattr(type(saver), name, None) is getattr(BaseCheckpointSaver, name)
        ]
        return cast("Self", super().__new__(_without(cast("type", cls), *missing)))

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        chain: Chain,
        *,
        tenant: str = "default",
        clear: Collection[str] = (),
    ) -> None:
        if isinstance(saver, ClaimCheckSaver):
            raise ConfigError("the saver has a chain already", "Give it the saver below.")
        serde = ClaimCheckSerde(saver.serde)
        if serde.is_encrypting and not chain.encrypts and not chain.decode_only:
            raise ConfigError(
                "the saver encrypts, and the chain does not", "Add Encrypt(keyring) to the chain."
            )
        super().__init__(serde=serde.bare)
        self.saver = saver
        """The saver as it was given."""
        self._chain = chain
        self._tenant = tenant
        self._clear = ClearKeys(clear)
        # As LangGraph itself gives a saver another serializer.
        self._below = copy(saver)
        self._below.serde = serde
        self._tuples = Tuples(chain, tenant, Values(chain, tenant, serde), self._clear, saver)

    def __repr__(self) -> str:
        return f"ClaimCheckSaver({self.saver!r}, {self._chain!r}, tenant={self._tenant!r})"

    @property
    def config_specs(self) -> list[Any]:
        """The options of the saver."""
        return self.saver.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the saver's next version of a channel."""
        return self.saver.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> BaseCheckpointSaver[Any]:
        """Return a saver that makes objects of these types as well."""
        saver = self.saver.with_allowlist(extra_allowlist)
        if saver is self.saver:
            return self
        return ClaimCheckSaver(saver, self._chain, tenant=self._tenant, clear=self._clear.keys)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See :meth:`BaseCheckpointSaver.get_tuple`. Raises ``CoatcheckError`` as :meth:`Chain.decode`."""
        found = self._below.get_tuple(config)
        if found is None:
            run_eagerly(self._tuples.missed(config))
            return None
        return run_eagerly(self._tuples.open(found))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See :meth:`get_tuple`."""
        found = await self._below.aget_tuple(config)
        if found is None:
            await self._tuples.missed(config)
            return None
        return await self._tuples.open(found)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """See :meth:`BaseCheckpointSaver.list`. By sealed metadata it filters what the saver returns for the rest."""
        clear, rest = self._clear.split(filter or {})
        asked = None if rest else limit
        listing = cast("Any", self._below.list(config, filter=clear or None, before=before, limit=asked))
        with closing(listing) if hasattr(listing, "close") else nullcontext():
            left = limit
            for found in listing:
                if left == 0:
                    return
                opened = run_eagerly(self._tuples.open(found, rest))
                if opened is not None:
                    left = left and left - 1
                    yield opened

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See :meth:`list`."""
        clear, rest = self._clear.split(filter or {})
        asked = None if rest else limit
        listing = cast("Any", self._below.alist(config, filter=clear or None, before=before, limit=asked))
        async with aclosing(listing) if hasattr(listing, "aclose") else nullcontext():
            left = limit
            async for found in listing:
                if left == 0:
                    return
                opened = await self._tuples.open(found, rest)
                if opened is not None:
                    left = left and left - 1
                    yield opened

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See :meth:`BaseCheckpointSaver.put`. Raises ``CoatcheckError`` as :meth:`Chain.encode`; nothing is kept then."""
        put = Put(config, checkpoint, metadata, new_versions)
        return self._below.put(*run_eagerly(self._tuples.seal(put)))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See :meth:`put`."""
        put = Put(config, checkpoint, metadata, new_versions)
        return await self._below.aput(*await self._tuples.seal(put))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See :meth:`BaseCheckpointSaver.put_writes`. Raises as :meth:`put`."""
        told, sealed = run_eagerly(self._tuples.seal_writes(config, writes))
        self._below.put_writes(told, sealed, task_id, task_path)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See :meth:`put_writes`."""
        told, sealed = await self._tuples.seal_writes(config, writes)
        await self._below.aput_writes(told, sealed, task_id, task_path)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See :meth:`BaseCheckpointSaver.get_delta_channel_history`. Raises as :meth:`get_tuple`."""
        found = self._below.get_delta_channel_history(config=config, channels=channels)
        return run_eagerly(self._tuples.open_history(config, found))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See :meth:`get_delta_channel_history`."""
        found = await self._below.aget_delta_channel_history(config=config, channels=channels)
        return await self._tuples.open_history(config, found)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread, in the saver and then in the store, unless threads were copied from it.

        Nobody may run the thread meanwhile. Old versions in a versioned bucket and copies in replicas are not deleted.

        Raises:
            CoatcheckError: The store cannot or will not delete. The saver has nothing of the thread any more; call it again.
        """
        self._below.delete_thread(thread_id)
        run_blocking(self._chain.delete(thread_scope(self._tenant, thread_id)))

    async def adelete_thread(self, thread_id: str) -> None:
        """See :meth:`delete_thread`."""
        await self._below.adelete_thread(thread_id)
        await self._chain.delete(thread_scope(self._tenant, thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete what was written by these runs from the saver. What only they need is left to :meth:`prune` and sweeps."""
        self._below.delete_for_runs(run_ids)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See :meth:`delete_for_runs`."""
        await self._below.adelete_for_runs(run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread. The copy refers to the objects of the source, which stay when the source is deleted."""
        run_blocking(self._chain.share(thread_scope(self._tenant, source_thread_id)))
        self._below.copy_thread(source_thread_id, target_thread_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See :meth:`copy_thread`."""
        await self._chain.share(thread_scope(self._tenant, source_thread_id))
        await self._below.acopy_thread(source_thread_id, target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prune threads, in the saver and then in the store, there as :meth:`Chain.trim` does. Raises as :meth:`delete_thread`."""
        self._below.prune(thread_ids, strategy=strategy)
        for thread in thread_ids:
            left = [*self._below.list({"configurable": {"thread_id": thread}})]
            run_blocking(self._trim(thread, left))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """See :meth:`prune`."""
        await self._below.aprune(thread_ids, strategy=strategy)
        for thread in thread_ids:
            left = [found async for found in self._below.alist({"configurable": {"thread_id": thread}})]
            await self._trim(thread, left)

    async def _trim(self, thread: str, left: Sequence[CheckpointTuple]) -> None:
        scope = thread_scope(self._tenant, thread)
        if left:
            await self._chain.trim(scope, [one for found in left for one in references_in(found)])
        else:
            await self._chain.delete(scope)


@lru_cache
def _without(kind: type, *names: str) -> type:
    if not names:
        return kind
    return type(kind.__name__, (kind,), {name: getattr(BaseCheckpointSaver, name) for name in names})
