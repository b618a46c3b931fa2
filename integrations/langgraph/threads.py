"""The threads that a saver has, for a sweep, and the scopes that each refers to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from copy import copy
from typing import Any, Final

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from coatcheck.integrations.langgraph.references import sealed_in
from coatcheck.integrations.langgraph.scopes import ENGINE, thread_scope
from coatcheck.integrations.langgraph.sealed import ClaimCheckSerde
from coatcheck.retention.live import LiveRuns, RunTag, run_tags_in
from coatcheck.scope import Scope

_END: Final = object()


class LangGraphThreads(LiveRuns):
    """The scopes of the threads in one database, and those that they refer to, as copies of threads do. Reads only.

    Args:
        saver: Has the threads: the one that :class:`ClaimCheckSaver` was given, or another one of its database.
        tenants: The tenants of the threads: ``ClaimCheckSaver(saver, chain, tenant=...)``.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], tenants: Sequence[str]) -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._below = copy(saver)
        self._below.serde = ClaimCheckSerde(saver.serde)

    async def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """See :meth:`LiveRuns.scopes`. Yields each thread once, and each other scope for each thread that refers to it.

        Raises:
            FormatError: The metadata of a checkpoint are damaged, so that it is not known what they refer to.
        """
        seen: set[str | RunTag] = set()
        async for found in self._checkpoints():
            thread = str(found.config["configurable"]["thread_id"])
            if thread not in seen:
                seen.add(thread)
                for tenant in self.tenants:
                    yield thread_scope(tenant, thread)
            for value in sealed_in(found):
                for tag in run_tags_in(value.data):
                    if tag not in seen:
                        seen.add(tag)
                        yield tag

    async def _checkpoints(self) -> AsyncIterator[CheckpointTuple]:
        try:
            async for found in self._below.alist(None):
                yield found
        except NotImplementedError:
            # A saver that is not asynchronous.
            listing = self._below.list(None)
            while (item := await asyncio.to_thread(next, listing, _END)) is not _END:
                assert isinstance(item, CheckpointTuple)
                yield item
